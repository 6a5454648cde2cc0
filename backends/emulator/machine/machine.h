// The machine that runs a kernel's threads on one thread of the processor: what its parts know of each other.
//
//   fiber.cpp      a stack for each thread, and the switch from one to another
//   scheduler.cpp  the threads of a block: who runs next, barriers, the operations of a warp
//   checker.cpp    what each access to memory means next to those before it (shadow.h)
//   launch.cpp     the blocks of a grid; crashes; the interface to Python
//
// Everything repeats exactly: no clock, no address and no other thread decides anything.
#pragma once
#include <cstddef>
#include <cstdint>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace machine {

constexpr unsigned WARP = 32, MOST_THREADS = 1024, MOST_DYNAMIC_SHARED = 48 << 10;

struct Index {
  unsigned x, y, z;
};

// ------------------------------------------------------------------------------------------------ fiber.cpp
struct Fiber {
  void* stack_pointer;  // while it does not run
};
Fiber* take_fiber();           // one that begins in fiber_body (of the scheduler)
void give_back(Fiber* fiber);  // which waits at the end of a thread
void reset_fibers();           // all fibers begin anew: their threads were abandoned
void switch_fiber(Fiber& from, const Fiber& to);
extern const uintptr_t fiber_stacks_begin, fiber_stacks_size;
inline bool is_on_fiber_stack(uintptr_t address) { return address - fiber_stacks_begin < fiber_stacks_size; }
// In a signal handler: where the code was, and where it goes on when the handler returns.
uintptr_t code_address(const void* signal_context);
void resume_in(void* signal_context, const Fiber& fiber);

// ------------------------------------------------------------------------------------------------ scheduler.cpp
enum Operation { SYNC, VOTE, SHUFFLE };  // of a warp; as in dialect/cuda.h
enum State : uint8_t { READY, RUNNING, AT_BARRIER, AT_WARP_OPERATION, DONE };

// Where in the text a thread waits, and the return address of its call.
struct Place {
  const char* file;
  int line;
  uintptr_t address;
};

struct Thread {
  Index index;
  unsigned number;  // in its block: lane number % WARP of warp number / WARP
  State state;
  Fiber* fiber;
  Place place;  // while it waits
  Operation operation;
  unsigned mask;
  uint64_t value;  // what it brings, and then what it gets
  int source;      // the lane that a shuffle reads
};
extern Thread* running;  // null outside kernels
extern Index block_index;
extern const Fiber& launcher;

void prepare_threads(Index block_size, unsigned order);
void run_block();             // returns when all threads are done, or when one has failed
[[noreturn]] void abandon();  // ends the launch from within a thread

// Pseudo-random numbers for the order of threads and blocks: the same for the same launch and order.
struct Random {
  uint64_t state;
  unsigned below(unsigned bound);
};
extern Random random_order;

// ------------------------------------------------------------------------------------------------ checker.cpp
// Memory that the kernel may touch, as Python describes it.
struct Memory {
  const char* begin;
  size_t bytes;
  int element;      // bytes of one
  int is_writable;  // through the kernel's parameter
  int is_written;   // has values before the launch
  int is_shared;    // belongs to a block
};
extern bool is_checked;
void begin_checking(const Memory* memory, int count);
void begin_block_memory();                       // shared memory is new
void begin_interval();                           // what the block does from here on comes after all that it has done
void join_lanes(unsigned warp, unsigned lanes);  // these lanes of a warp have waited for each other
void find_unwritten();                           // after the last block
void end_checking();

// ------------------------------------------------------------------------------------------------ launch.cpp
// What went wrong, for Python to put into words. As the class of the same name in launch.py.
struct Report {
  char problem[256];       // "" where all is well
  uint64_t address;        // return address in the kernel's code, or 0
  uint64_t other_address;  // of the earlier access that it collides with, or 0
  Index block, thread, other_block, other_thread;
  int has_thread;
  int memory;      // number of the memory concerned, or -1
  int64_t offset;  // of the byte in it
  int64_t count;   // how many elements were never written
};
extern Report report;
// Describes the running thread and ends the launch.
[[noreturn]] void fail(const char* problem, uintptr_t address, int memory = -1, int64_t offset = 0);
void describe_thread(const Thread& thread);
Index thread_index(unsigned number);
Index block_of_position(uint64_t position);  // the block that was run as the position-th
void call_kernel();                          // as the running thread

}  // namespace machine
