// The threads of one block: who runs next, barriers, and the operations of a warp.
//
// A thread runs until it waits or ends. Threads that never wait run one after another on one fiber, so that a kernel without
// barriers costs no switch.
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "machine.h"

// What a kernel reads as threadIdx and blockIdx.
extern "C" {
__attribute__((visibility("default"))) machine::Index emulator_thread, emulator_block;
}

namespace machine {

Thread* running = nullptr;
Index block_index;
Random random_order;

namespace {

struct Warp {
  unsigned alive, waiting;  // a bit a lane
};

Thread threads[MOST_THREADS];
Warp warps[MOST_THREADS / WARP];
Fiber launcher_fiber;
unsigned thread_count = 0;
unsigned order_of_start[MOST_THREADS], started = 0;  // threads that have not begun come from here
std::vector<unsigned> ready;                         // threads that have waited and may go on
size_t next_ready = 0;
unsigned alive = 0, at_barrier = 0;
int predicates = 0;  // how many at the barrier brought a true one
bool is_descending = false, is_shuffled = false;

void run_on(Fiber* fiber, unsigned number) {
  running = &threads[number];
  running->fiber = fiber;
  running->state = RUNNING;
  emulator_thread = running->index;
}

void wake(unsigned number) {
  threads[number].state = READY;
  ready.push_back(number);
}

// The next thread that has waited and may go on, or -1 where a new one shall begin.
int take_ready() {
  const size_t waiting = ready.size() - next_ready;
  if (waiting == 0) return -1;
  if (is_shuffled) {
    const unsigned choice = random_order.below(unsigned(waiting) + thread_count - started);
    if (choice >= waiting) return -1;
    std::swap(ready[next_ready], ready[next_ready + choice]);
  }
  const unsigned number = ready[next_ready++];
  if (next_ready == ready.size()) {
    ready.clear();
    next_ready = 0;
  }
  return int(number);
}

// Leaves `self`, whose thread waits or is done, for the next thread; for the launcher where nobody can run.
void pass_on(Fiber* self) {
  const int number = take_ready();
  if (number >= 0) {
    run_on(threads[number].fiber, unsigned(number));
    if (running->fiber != self) switch_fiber(*self, *running->fiber);
  } else if (started < thread_count) {
    run_on(take_fiber(), order_of_start[started++]);
    switch_fiber(*self, *running->fiber);
  } else {
    running = nullptr;
    switch_fiber(*self, launcher_fiber);
  }
}

bool is_same(const Place& a, const Place& b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }

[[noreturn]] void fail_at(const Thread& thread, const char* problem) {
  describe_thread(thread);
  std::snprintf(report.problem, sizeof report.problem, "%s", problem);
  report.address = thread.place.address;
  abandon();
}

[[noreturn]] void fail_at(const Thread& thread, const Thread& other, const char* problem) {
  report.other_address = other.place.address;
  report.other_block = block_index;
  report.other_thread = other.index;
  fail_at(thread, problem);
}

// Lets all go on once nobody is missing at the barrier. A thread that has ended is missing for ever.
void try_barrier() {
  if (at_barrier == 0 || at_barrier != alive) return;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < thread_count; i++) {
    const Thread& thread = threads[i];
    if (thread.state != AT_BARRIER) continue;
    if (alive != thread_count) {
      char problem[160];
      std::snprintf(problem, sizeof problem, "divergent barrier: %u of the block's %u threads wait, %u have ended",
                    at_barrier, thread_count, thread_count - alive);
      fail_at(thread, problem);
    }
    if (!first) first = &thread;
    if (!is_same(thread.place, first->place))
      fail_at(thread, *first, "divergent barrier: the threads of a block wait at different ones");
  }
  begin_interval();
  for (unsigned i = 0; i < thread_count; i++) {
    threads[order_of_start[i]].value = uint64_t(predicates);
    wake(order_of_start[i]);
  }
  at_barrier = 0;
  predicates = 0;
}

// What each of the lanes that wait for one operation gets of it.
void do_warp_operation(unsigned warp, unsigned lanes) {
  Thread* const threads_of_warp = threads + warp * WARP;
  const Thread& first = threads_of_warp[__builtin_ctz(lanes)];
  uint64_t votes = 0, results[WARP];
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const Thread& thread = threads_of_warp[lane];
    if (thread.mask != first.mask) fail_at(thread, first, "bad mask: lanes of one warp operation give different masks");
    if (thread.operation != first.operation || !is_same(thread.place, first.place))
      fail_at(thread, first, "divergent warp operation: lanes of one mask wait at different ones");
    votes |= thread.value << lane;
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const Thread& thread = threads_of_warp[lane];
    results[lane] = votes;
    if (thread.operation != SHUFFLE) continue;
    if (thread.source < 0 || thread.source >= int(WARP) || !(lanes >> thread.source & 1)) {
      char problem[160];
      std::snprintf(problem, sizeof problem, "bad shuffle: it reads from lane %d, which takes no part", thread.source);
      fail_at(thread, problem);
    }
    results[lane] = threads_of_warp[thread.source].value;
  }
  if (first.operation == SYNC && is_checked) join_lanes(warp, lanes);  // shuffles and votes order no memory
  for (unsigned rest = lanes; rest;) {
    const unsigned lane = unsigned(is_descending ? 31 - __builtin_clz(rest) : __builtin_ctz(rest));
    rest &= ~(1u << lane);
    threads_of_warp[lane].value = results[lane];
    wake(warp * WARP + lane);
  }
}

// Does the operations of the warp for which all lanes have come that their masks name. Lanes that have ended do not count.
void try_warp_operations(unsigned warp) {
  unsigned untried = warps[warp].waiting;
  while (untried) {
    const int lane = __builtin_ctz(untried);
    untried &= untried - 1;
    const unsigned needed = threads[warp * WARP + unsigned(lane)].mask & warps[warp].alive;
    if ((warps[warp].waiting & needed) != needed) continue;
    do_warp_operation(warp, needed);
    warps[warp].waiting &= ~needed;
    untried &= ~needed;
  }
}

// Threads wait that nobody will wake: those at an operation of a warp tell more than those at a barrier.
void report_deadlock() {
  const Thread* stuck = nullptr;
  unsigned at_warp_operation = 0;
  for (unsigned i = 0; i < thread_count; i++) {
    if (threads[i].state == AT_WARP_OPERATION && at_warp_operation++ == 0) stuck = &threads[i];
    if (threads[i].state == AT_BARRIER && !stuck) stuck = &threads[i];
  }
  describe_thread(*stuck);
  report.address = stuck->place.address;
  std::snprintf(report.problem, sizeof report.problem,
                "deadlock: %u threads wait at a warp operation, %u at a barrier, %u have ended", at_warp_operation,
                at_barrier, thread_count - alive);
}

}  // namespace

const Fiber& launcher = launcher_fiber;

unsigned Random::below(unsigned bound) {  // splitmix64 (G. Steele, D. Lea and C. Flood, 2014)
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return unsigned(((z ^ z >> 31) >> 32) * bound >> 32);
}

void prepare_threads(Index size, unsigned order) {
  thread_count = size.x * size.y * size.z;
  is_descending = order == 1;
  is_shuffled = order > 1;
  for (unsigned i = 0; i < thread_count; i++) {
    threads[i].index = thread_index(i);
    threads[i].number = i;
    order_of_start[i] = is_descending ? thread_count - 1 - i : i;
  }
}

// Where every fiber begins: it runs a thread to its end, then the next.
void fiber_body() {
  for (;;) {
    call_kernel();
    Thread& thread = *running;
    Fiber* const self = thread.fiber;
    const unsigned warp = thread.number / WARP;
    thread.state = DONE;
    alive--;
    warps[warp].alive &= ~(1u << thread.number % WARP);
    if (warps[warp].waiting) try_warp_operations(warp);
    try_barrier();
    if (ready.empty() && started < thread_count) {
      run_on(self, order_of_start[started++]);
    } else {
      give_back(self);
      pass_on(self);
    }
  }
}

void run_block() {
  if (is_shuffled)
    for (unsigned i = thread_count; i > 1; i--) std::swap(order_of_start[i - 1], order_of_start[random_order.below(i)]);
  for (unsigned i = 0; i < thread_count; i++) threads[i].state = READY;
  for (unsigned w = 0; w * WARP < thread_count; w++) {
    const unsigned lanes = thread_count - w * WARP;
    warps[w] = {lanes >= WARP ? ~0u : (1u << lanes) - 1, 0};
  }
  alive = thread_count;
  started = at_barrier = 0;
  predicates = 0;
  ready.clear();
  next_ready = 0;
  emulator_block = block_index;
  pass_on(&launcher_fiber);
  if (!report.problem[0] && alive) report_deadlock();
  if (report.problem[0]) reset_fibers();
}

void abandon() {
  running = nullptr;
  Fiber left_for_ever;
  switch_fiber(left_for_ever, launcher_fiber);
  __builtin_unreachable();
}

}  // namespace machine

using namespace machine;

EXPORTED int emulator_barrier(int predicate, const char* file, int line) {
  Thread& thread = *running;
  thread.place = {file, line, reinterpret_cast<uintptr_t>(__builtin_return_address(0))};
  thread.state = AT_BARRIER;
  predicates += predicate;
  at_barrier++;
  try_barrier();
  pass_on(thread.fiber);
  return int(thread.value);
}

EXPORTED uint64_t emulator_warp(int operation, unsigned mask, uint64_t value, int source, const char* file, int line) {
  Thread& thread = *running;
  const unsigned lane = thread.number % WARP, warp = thread.number / WARP;
  thread.place = {file, line, reinterpret_cast<uintptr_t>(__builtin_return_address(0))};
  if (!(mask >> lane & 1)) fail("bad mask: it leaves out the lane that gives it", thread.place.address);
  thread.operation = Operation(operation);
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  thread.state = AT_WARP_OPERATION;
  warps[warp].waiting |= 1u << lane;
  try_warp_operations(warp);
  pass_on(thread.fiber);
  return thread.value;
}
