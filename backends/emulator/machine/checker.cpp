// What each access to memory means next to the accesses before it: bounds, values that were never set, and races.
//
// The compiler puts a call in front of every access (-fsanitize=thread); its functions, __tsan_..., are ours. Each piece of
// memory has a cell (shadow.h) that remembers who wrote it last, who read it since, and who took part in atomic operations.
//
// Two accesses, one of them a write, are a race unless something orders them:
// - a barrier between them. Intervals are the stretches between barriers; they are counted through blocks and launches
//   for ever, so that the number of an interval tells its block and launch, and a cell left from another launch is known
//   to be old without being cleared.
// - for lanes of one warp, a chain of __syncwarp: joins of a warp are counted, and `heard` has for each pair of lanes the
//   last join through which one heard of the other (vector clocks; F. Mattern, 1989).
// Nothing orders the blocks of one launch.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "machine.h"
#include "shadow.h"

namespace machine {

bool is_checked = false;

namespace {

std::vector<Region> regions;  // ordered by address. Their cells are kept from launch to launch
size_t region_count = 0;
uint32_t interval = 1, block_start = 1, launch_start = 1;
std::vector<uint32_t> block_starts;  // the first interval of each block of the launch
uint32_t heard[MOST_THREADS][WARP];  // the last join of its warp through which a thread heard of each lane
uint32_t joins[MOST_THREADS / WARP];

// A place in the code mostly touches one region: the one that it touched last time.
Region* last_region[256];

Region* find_region(uintptr_t address, uintptr_t code) {
  Region*& guess = last_region[code >> 2 & 255];
  if (guess && address - guess->begin < guess->end - guess->begin) return guess;
  Region* const first = regions.data();
  Region* const after =
      std::upper_bound(first, first + region_count, address, [](uintptr_t a, const Region& r) { return a < r.begin; });
  if (after == first || address >= after[-1].end) return nullptr;
  return guess = after - 1;
}

enum Collision { NONE, IN_BLOCK, BETWEEN_BLOCKS };

// Whether one of these accesses has no place before or behind what the running thread does now.
inline Collision collide(const Accesses& others, uint32_t oldest) {
  if (others.interval < oldest) return NONE;
  if (others.several_blocks || others.interval < block_start) return BETWEEN_BLOCKS;
  if (others.interval != interval) return NONE;
  const unsigned warp = running->number / WARP, lane = running->number % WARP;
  if (others.several_warps || others.warp != warp) return IN_BLOCK;
  for (uint32_t rest = others.lanes & ~(1u << lane); rest; rest &= rest - 1)
    if (heard[running->number][__builtin_ctz(rest)] <= others.joins) return IN_BLOCK;
  return NONE;
}

inline void add(Accesses& accesses, uint32_t oldest, uintptr_t code) {
  const unsigned warp = running->number / WARP, bit = 1u << running->number % WARP;
  accesses.address = uint32_t(code);
  if (accesses.interval != interval) {
    const bool is_live = accesses.interval >= oldest;
    accesses.several_blocks = is_live && (accesses.several_blocks || accesses.interval < block_start);
    accesses.interval = interval;
    accesses.several_warps = accesses.is_exchange = false;
    accesses.warp = uint8_t(warp);
    accesses.lanes = bit;
    accesses.joins = joins[warp];
  } else if (accesses.warp != warp) {
    accesses.several_warps = true;
  } else if (accesses.lanes == bit) {
    accesses.joins = joins[warp];
  } else {
    // Those that this thread has heard of come before it: who comes behind it comes behind them too.
    for (uint32_t rest = accesses.lanes & ~bit; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      if (heard[running->number][lane] > accesses.joins) accesses.lanes &= ~(1u << lane);
    }
    accesses.lanes |= bit;
    if (accesses.lanes == bit) accesses.joins = joins[warp];
  }
}

// Fills in the earlier access of a race.
void describe_other(const Accesses& others, uintptr_t code) {
  report.other_address = (code & ~uintptr_t(0xffffffff)) | others.address;
  const auto after = std::upper_bound(block_starts.begin(), block_starts.end(), others.interval);
  report.other_block = block_of_position(uint64_t(after - block_starts.begin()) - 1);
  const unsigned mine = 1u << running->number % WARP;
  const bool may_be_mine = others.interval == interval && others.warp == running->number / WARP;
  const uint32_t lanes = may_be_mine && (others.lanes & ~mine) ? others.lanes & ~mine : others.lanes;
  report.other_thread = thread_index(others.warp * WARP + unsigned(__builtin_ctz(lanes)));
}

[[noreturn]] void fail_race(const char* mine, const char* others_did, Collision collision, const Accesses& others,
                            const Region& region, uintptr_t address, uintptr_t code) {
  char problem[128];
  std::snprintf(problem, sizeof problem, "race %s: %s of what another %s %s",
                collision == IN_BLOCK ? "within a block" : "between blocks", mine,
                collision == IN_BLOCK ? "thread" : "block", others_did);
  describe_other(others, code);
  fail(problem, code, region.number, int64_t(address - region.begin));
}

enum Kind { READ, WRITE, ATOMIC, EXCHANGE };
const char* const NAMES[] = {"read", "write", "atomic operation", "atomic exchange"};

[[noreturn]] void fail_access(const char* problem, Kind kind, unsigned size, const Region* region, uintptr_t address,
                              uintptr_t code) {
  char text[160];
  std::snprintf(text, sizeof text, "%s: %s of %u bytes", problem, NAMES[kind], size);
  fail(text, code, region ? region->number : -1, region ? int64_t(address - region->begin) : 0);
}

// An address in no region. The nearest one is named: most such accesses are a little off.
[[noreturn]] void fail_stray(uintptr_t address, unsigned size, Kind kind, uintptr_t code) {
  if (address < 4096) fail_access("null pointer", kind, size, nullptr, address, code);
  const Region* nearest = nullptr;
  uintptr_t distance = ~uintptr_t(0);
  for (size_t i = 0; i < region_count; i++) {
    const uintptr_t d = address < regions[i].begin ? regions[i].begin - address : address - regions[i].end;
    if (d < distance) {
      distance = d;
      nearest = &regions[i];
    }
  }
  if (distance > (uintptr_t(1) << 30)) nearest = nullptr;  // it has nothing to do with it
  fail_access("out of bounds", kind, size, nearest, address, code);
}

void check_cells(Region& region, uintptr_t address, unsigned size, Kind kind, uintptr_t code) {
  region.touch(__builtin_ctz(size));
  const uint32_t oldest = region.oldest;
  const bool is_atomic = kind >= ATOMIC;
  if (is_atomic && region.atomics.size() < region.cells.size()) region.atomics.resize(region.cells.size());
  const bool has_atomics = !region.atomics.empty();
  const size_t first = region.cell_of(address), last = region.cell_of(address + size - 1);
  for (size_t i = first; i <= last; i++) {
    Cell& cell = region.cells[i];
    if (!region.is_written && (kind == READ || kind == ATOMIC) && cell.write.interval < oldest)
      fail_access("uninitialized: nobody has written what is read", kind, size, &region, address, code);
    if (Collision c = collide(cell.write, oldest); c != NONE && !(is_atomic && cell.write.is_exchange))
      fail_race(NAMES[kind], "wrote", c, cell.write, region, address, code);
    if (kind != READ)
      if (Collision c = collide(cell.read, oldest); c != NONE)
        fail_race(NAMES[kind], "read", c, cell.read, region, address, code);
    if (has_atomics && !is_atomic)
      if (Collision c = collide(region.atomics[i], oldest); c != NONE)
        fail_race(NAMES[kind], "changed by an atomic operation", c, region.atomics[i], region, address, code);
    if (is_atomic) add(region.atomics[i], oldest, code);
    if (kind == READ) {
      add(cell.read, oldest, code);
    } else if (kind == WRITE) {
      cell.write.interval = 0;  // there is one last writer
      add(cell.write, oldest, code);
    } else if (kind == EXCHANGE && cell.write.interval < oldest) {
      add(cell.write, oldest, code);
      cell.write.is_exchange = true;
    }
  }
}

// The compiler takes 16-byte accesses apart where it may, but a GPU does not.
void fail_misaligned(uintptr_t address, uintptr_t code) {
  const Region* const region = is_on_fiber_stack(address) ? nullptr : find_region(address, code);
  fail("misaligned: access through a pointer to a type that needs more", code, region ? region->number : -1,
       region ? int64_t(address - region->begin) : 0);
}

// `size` is a power of two of at most 16.
inline void check(uintptr_t address, unsigned size, Kind kind, uintptr_t code) {
  if (!running || is_on_fiber_stack(address)) return;
  Region* const region = find_region(address, code);
  if (!region) fail_stray(address, size, kind, code);
  if (address + size > region->end) fail_access("out of bounds", kind, size, region, address, code);
  if (address & (size - 1)) fail_access("misaligned", kind, size, region, address, code);
  if (kind != READ && !region->is_writable)
    fail_access("write to memory that the kernel declares const", kind, size, region, address, code);
  if (region->has_cells) check_cells(*region, address, size, kind, code);
}

// Any number of bytes, in the largest pieces that lie aligned.
void check_range(uintptr_t address, size_t size, Kind kind, uintptr_t code) {
  while (size > 0) {
    unsigned piece = 1u << MOST_SHIFT;
    while (piece > size || (address & (piece - 1))) piece /= 2;
    check(address, piece, kind, code);
    address += piece;
    size -= piece;
  }
}

}  // namespace

void begin_checking(const Memory* memory, int count) {
  if (interval > 0x7fffffffu) {  // the count of intervals would run over in this launch: forget all
    regions.clear();
    interval = 1;
  }
  if (regions.size() < size_t(count)) regions.resize(size_t(count));
  region_count = 0;
  for (int i = 0; i < count; i++) {
    if (memory[i].bytes == 0) continue;
    Region& region = regions[region_count++];
    region.begin = reinterpret_cast<uintptr_t>(memory[i].begin);
    region.end = region.begin + memory[i].bytes;
    region.number = i;
    region.element = memory[i].element;
    region.is_writable = memory[i].is_writable;
    region.is_written = memory[i].is_written;
    region.is_shared = memory[i].is_shared;
  }
  std::sort(regions.begin(), regions.begin() + long(region_count),
            [](const Region& a, const Region& b) { return a.begin < b.begin; });
  // An array that is given twice, or that overlaps another, is one region: writable if one of them is.
  size_t kept = 0;
  for (size_t i = 1; i < region_count; i++) {
    if (regions[i].begin >= regions[kept].end) {
      std::swap(regions[++kept], regions[i]);
      continue;
    }
    regions[kept].end = std::max(regions[kept].end, regions[i].end);
    regions[kept].is_written &= regions[i].is_written;
    if (regions[i].is_writable && !regions[kept].is_writable) {
      regions[kept].is_writable = true;
      if (regions[i].begin == regions[kept].begin) regions[kept].number = regions[i].number;
    }
  }
  region_count = region_count ? kept + 1 : 0;
  for (size_t i = 0; i < region_count; i++) {
    Region& region = regions[i];
    region.has_cells = region.is_writable || !region.is_written;
    region.is_touched = false;
    region.shift = MOST_SHIFT;
  }
  std::memset(last_region, 0, sizeof last_region);
  std::memset(heard, 0, sizeof heard);
  std::memset(joins, 0, sizeof joins);
  block_starts.clear();
  launch_start = ++interval;
}

void begin_interval() { interval++; }

void begin_block_memory() {
  block_start = ++interval;
  block_starts.push_back(interval);
  for (size_t i = 0; i < region_count; i++) regions[i].oldest = regions[i].is_shared ? block_start : launch_start;
}

void join_lanes(unsigned warp, unsigned lanes) {
  uint32_t (*const lane_heard)[WARP] = heard + warp * WARP;
  uint32_t all[WARP] = {};
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    for (unsigned other = 0; other < WARP; other++) all[other] = std::max(all[other], lane_heard[__builtin_ctz(rest)][other]);
  const uint32_t now = ++joins[warp];
  for (unsigned rest = lanes; rest; rest &= rest - 1) all[__builtin_ctz(rest)] = now;
  for (unsigned rest = lanes; rest; rest &= rest - 1) std::memcpy(lane_heard[__builtin_ctz(rest)], all, sizeof all);
}

void find_unwritten() {
  for (size_t k = 0; k < region_count; k++) {
    const Region& region = regions[k];
    if (region.is_written || region.is_shared || !region.is_writable) continue;
    int64_t missing = 0, first = -1;
    for (uintptr_t at = region.begin; at < region.end; at += unsigned(region.element)) {
      bool is_set = region.is_touched;
      if (is_set)
        for (size_t i = region.cell_of(at); i <= region.cell_of(at + unsigned(region.element) - 1); i++)
          is_set &= region.cells[i].write.interval >= launch_start;
      if (is_set) continue;
      if (missing++ == 0) first = int64_t(at - region.begin);
    }
    if (missing == 0) continue;
    if (report.problem[0] && report.memory < region.number) continue;  // the first argument is the one to report
    std::snprintf(report.problem, sizeof report.problem, "never written");
    report.memory = region.number;
    report.offset = first;
    report.count = missing;
  }
}

void end_checking() {
  constexpr size_t KEPT = 1 << 20;  // cells: what small launches share; large ones give their memory back
  for (Region& region : regions)
    if (region.cells.size() > KEPT) {
      std::vector<Cell>().swap(region.cells);
      std::vector<Accesses>().swap(region.atomics);
    }
}

}  // namespace machine

using namespace machine;

namespace {
uintptr_t number(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }
}  // namespace
#define RETURN_ADDRESS number(__builtin_return_address(0))

// What the compiler calls in front of accesses.
#define HOOKS(size)                                                                                            \
  EXPORTED void __tsan_read##size(void* address) { check(number(address), size, READ, RETURN_ADDRESS); }       \
  EXPORTED void __tsan_write##size(void* address) { check(number(address), size, WRITE, RETURN_ADDRESS); }     \
  EXPORTED void __tsan_unaligned_read##size(void* address) { check(number(address), size, READ, RETURN_ADDRESS); } \
  EXPORTED void __tsan_unaligned_write##size(void* address) { check(number(address), size, WRITE, RETURN_ADDRESS); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
EXPORTED void __tsan_read_range(void* address, size_t size) { check_range(number(address), size, READ, RETURN_ADDRESS); }
EXPORTED void __tsan_write_range(void* address, size_t size) { check_range(number(address), size, WRITE, RETURN_ADDRESS); }
EXPORTED void __tsan_init() {}
EXPORTED void __tsan_func_entry(void*) {}
EXPORTED void __tsan_func_exit() {}

// What the dialect calls.
EXPORTED void emulator_atomic(void* address, int size, int is_exchange, void* called_from) {
  if (is_checked) check(number(address), unsigned(size), is_exchange ? EXCHANGE : ATOMIC, number(called_from));
}
EXPORTED void emulator_copy(void* to, const void* from, size_t bytes) {
  if (is_checked) {
    check_range(number(from), bytes, READ, RETURN_ADDRESS);
    check_range(number(to), bytes, WRITE, RETURN_ADDRESS);
  }
  std::memmove(to, from, bytes);
}
EXPORTED void emulator_fill(void* to, int value, size_t bytes) {
  if (is_checked) check_range(number(to), bytes, WRITE, RETURN_ADDRESS);
  std::memset(to, value, bytes);
}

// What -fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero calls.
EXPORTED void __ubsan_handle_type_mismatch_v1(void*, uintptr_t address) {
  if (running) fail_misaligned(address, RETURN_ADDRESS);
}
#define UNDEFINED(name, problem) \
  EXPORTED void __ubsan_handle_##name(void*, void*, void*) { if (running) fail(problem, RETURN_ADDRESS); }
UNDEFINED(out_of_bounds, "out of bounds: index outside of a declared array")
UNDEFINED(shift_out_of_bounds, "undefined: shift by a negative number or by as many bits as there are, or of a negative number")
UNDEFINED(add_overflow, "undefined: overflow of a signed sum")
UNDEFINED(sub_overflow, "undefined: overflow of a signed difference")
UNDEFINED(mul_overflow, "undefined: overflow of a signed product")
UNDEFINED(negate_overflow, "undefined: overflow of a signed negation")
UNDEFINED(divrem_overflow, "undefined: division by zero, or its overflow")
