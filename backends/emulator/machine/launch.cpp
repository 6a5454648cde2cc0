// The blocks of a grid, one after another; what happens when one crashes; and the interface to Python.
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "machine.h"

using namespace machine;

// What a kernel reads as blockDim and gridDim, and its dynamic shared memory.
extern "C" {
__attribute__((visibility("default"))) Index emulator_block_size, emulator_grid_size;
alignas(128) __attribute__((visibility("default"))) char emulator_dynamic_shared[MOST_DYNAMIC_SHARED];
}

namespace {

// As the class of the same name in launch.py.
struct Launch {
  void (*call)(void** arguments);
  void** arguments;
  Index grid, block;
  unsigned order;
  int is_checked;
  int memory_count;
  const Memory* memory;  // the shared ones among them are filled anew for each block
};

const Launch* launch;
std::vector<uint32_t> shuffled_blocks;  // empty where blocks run in order
pthread_t launching_thread;
struct sigaction former_actions[3];
constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};

// A crash of the kernel ends the launch, as an error that is found does; every other crash is none of our business.
void on_crash(int signal, siginfo_t* info, void* context) {
  if (!running || !pthread_equal(pthread_self(), launching_thread)) {
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &former_actions[i], nullptr);
    return;  // and it crashes again, before whoever listened before us
  }
  describe_thread(*running);
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (signal == SIGFPE)
    std::snprintf(report.problem, sizeof report.problem, "crash: division by zero");
  else if (is_on_fiber_stack(address))
    std::snprintf(report.problem, sizeof report.problem, "crash: a thread's local variables and calls need too much memory");
  else
    std::snprintf(report.problem, sizeof report.problem,
                  "crash: access to memory at address 0x%llx; checked mode names it", (unsigned long long)address);
  report.address = code_address(context) + 1;
  running = nullptr;
  resume_in(context, launcher);
}

// Crashes on a fiber must be handled on another stack: the fiber's may be the reason.
struct CrashHandling {
  stack_t former_stack;
  static inline char stack[64 << 10];

  CrashHandling() {
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    sigaltstack(&own, &former_stack);
    struct sigaction action = {};
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    launching_thread = pthread_self();
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &former_actions[i]);
  }
  ~CrashHandling() {
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &former_actions[i], nullptr);
    sigaltstack(&former_stack, nullptr);
  }
};

uint64_t block_number(uint64_t position) {
  const uint64_t count = uint64_t(launch->grid.x) * launch->grid.y * launch->grid.z;
  if (launch->order == 1) return count - 1 - position;
  return shuffled_blocks.empty() ? position : shuffled_blocks[position];
}

void shuffle_blocks(uint64_t count) {
  shuffled_blocks.clear();
  if (launch->order < 2) return;
  shuffled_blocks.resize(count);
  for (uint64_t i = 0; i < count; i++) shuffled_blocks[i] = uint32_t(i);
  for (uint64_t i = count; i > 1; i--) std::swap(shuffled_blocks[i - 1], shuffled_blocks[random_order.below(unsigned(i))]);
}

}  // namespace

namespace machine {

Report report;

void call_kernel() { launch->call(launch->arguments); }

Index thread_index(unsigned number) {
  const Index size = launch->block;
  return {number % size.x, number / size.x % size.y, number / (size.x * size.y)};
}

Index block_of_position(uint64_t position) {
  const uint64_t number = block_number(position);
  const Index grid = launch->grid;
  return {unsigned(number % grid.x), unsigned(number / grid.x % grid.y), unsigned(number / (uint64_t(grid.x) * grid.y))};
}

void describe_thread(const Thread& thread) {
  report.has_thread = 1;
  report.block = block_index;
  report.thread = thread.index;
}

void fail(const char* problem, uintptr_t address, int memory, int64_t offset) {
  std::snprintf(report.problem, sizeof report.problem, "%s", problem);
  describe_thread(*running);
  report.address = address;
  report.memory = memory;
  report.offset = offset;
  abandon();
}

}  // namespace machine

// Runs a kernel. Returns a report, or null where all is well. One launch at a time.
EXPORTED const Report* emulator_launch(const Launch* wanted) {
  launch = wanted;
  report = {};
  report.memory = -1;
  is_checked = launch->is_checked;
  emulator_block_size = launch->block;
  emulator_grid_size = launch->grid;
  random_order.state = launch->order;
  prepare_threads(launch->block, launch->order);
  const uint64_t blocks = uint64_t(launch->grid.x) * launch->grid.y * launch->grid.z;
  shuffle_blocks(blocks);
  const CrashHandling crash_handling;
  if (is_checked) begin_checking(launch->memory, launch->memory_count);
  for (uint64_t position = 0; position < blocks && !report.problem[0]; position++) {
    block_index = block_of_position(position);
    // Not zeros but NaN, and large negative integers: what a kernel reads before it has written shall be noticed.
    for (int i = 0; i < launch->memory_count; i++)
      if (launch->memory[i].is_shared) std::memset(const_cast<char*>(launch->memory[i].begin), 0xff, launch->memory[i].bytes);
    if (is_checked) begin_block_memory();
    run_block();
  }
  if (is_checked) {
    if (!report.problem[0]) find_unwritten();
    end_checking();
  }
  return report.problem[0] ? &report : nullptr;
}
