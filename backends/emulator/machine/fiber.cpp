// A stack for each thread of a block, and the switch from one to another: what a function call must keep, and no more.
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdlib>
#include <vector>

#include "machine.h"

namespace machine {
void fiber_body();  // scheduler.cpp
}

// machine_switch(&save, to) pushes what a function must keep, leaves the stack pointer in save, and goes on with the stack
// `to`, which was left the same way. A new stack is made so that it returns into fiber_body.
extern "C" {
__attribute__((visibility("hidden"))) void machine_switch(void** save, void* to);
__attribute__((visibility("hidden"))) extern char machine_resume[];  // with the stack pointer at what was pushed
}
#if defined(__x86_64__)
asm(R"(
  .text
  .globl machine_switch
  .hidden machine_switch
  .type machine_switch, @function
machine_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  .globl machine_resume
  .hidden machine_resume
machine_resume:
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size machine_switch, .-machine_switch
)");
constexpr size_t SAVED_WORDS = 8, RETURN_WORD = 6;  // six registers, where to return, and a word that aligns the stack
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl machine_switch
  .hidden machine_switch
  .type machine_switch, %function
machine_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  .globl machine_resume
  .hidden machine_resume
machine_resume:
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size machine_switch, .-machine_switch
)");
constexpr size_t SAVED_WORDS = 20, RETURN_WORD = 11;
#else
#error "the emulator runs on x86-64 and aarch64"
#endif

namespace machine {
namespace {

constexpr size_t STACK = 128 << 10, GUARD = 16 << 10;  // bytes of one stack; its lowest ones may not be touched

char* reserve_stacks() {
  void* stacks = mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) abort();
  return static_cast<char*>(stacks);
}

char* const stacks = reserve_stacks();
Fiber fibers[MOST_THREADS];
unsigned made = 0;
std::vector<Fiber*> idle;

void begin_anew(unsigned number) {
  void** words = reinterpret_cast<void**>(stacks + STACK * (number + 1)) - SAVED_WORDS;
  for (size_t i = 0; i < SAVED_WORDS; i++) words[i] = nullptr;
  words[RETURN_WORD] = reinterpret_cast<void*>(&fiber_body);
  fibers[number].stack_pointer = words;
}

}  // namespace

const uintptr_t fiber_stacks_begin = reinterpret_cast<uintptr_t>(stacks), fiber_stacks_size = STACK * MOST_THREADS;

Fiber* take_fiber() {
  if (idle.empty()) {
    mprotect(stacks + STACK * made, GUARD, PROT_NONE);
    begin_anew(made);
    idle.push_back(&fibers[made++]);
  }
  Fiber* fiber = idle.back();
  idle.pop_back();
  return fiber;
}

void give_back(Fiber* fiber) { idle.push_back(fiber); }

void reset_fibers() {
  idle.clear();
  for (unsigned i = made; i-- > 0;) {
    begin_anew(i);
    idle.push_back(&fibers[i]);
  }
}

void switch_fiber(Fiber& from, const Fiber& to) { machine_switch(&from.stack_pointer, to.stack_pointer); }

uintptr_t code_address(const void* signal_context) {
  const mcontext_t& registers = static_cast<const ucontext_t*>(signal_context)->uc_mcontext;
#if defined(__x86_64__)
  return uintptr_t(registers.gregs[REG_RIP]);
#else
  return registers.pc;
#endif
}

void resume_in(void* signal_context, const Fiber& fiber) {
  mcontext_t& registers = static_cast<ucontext_t*>(signal_context)->uc_mcontext;
#if defined(__x86_64__)
  registers.gregs[REG_RSP] = reinterpret_cast<greg_t>(fiber.stack_pointer);
  registers.gregs[REG_RIP] = reinterpret_cast<greg_t>(machine_resume);
#else
  registers.sp = reinterpret_cast<uintptr_t>(fiber.stack_pointer);
  registers.pc = reinterpret_cast<uintptr_t>(machine_resume);
#endif
}

}  // namespace machine
