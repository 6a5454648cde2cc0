// CUDA C for an ordinary C++ compiler: what a kernel may use, and nothing else.
//
// It is included in front of a kernel's text. No standard header is: each would double the time to compile, and bring names
// (y0, index, std) that the text may have for itself. What a thread needs of its block and its warp is asked of the machine
// (emulator_...), which runs the threads.
#pragma once
#define __CUDA_ARCH__ 900
#define __CUDACC__ 1
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __constant__ static const
// Blocks run one after another, so that one copy of a block's shared memory serves them all. The machine knows these
// variables by their names in the symbol table and gives each block fresh ones.
#define __shared__ static
#define __grid_constant__
#define warpSize 32

typedef decltype(sizeof 0) size_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

#define EMULATOR_VECTORS(type, name)                                                                          \
  struct name##1 { type x; };                                                                                 \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                                    \
  struct name##3 { type x, y, z; };                                                                           \
  struct alignas(4 * sizeof(type) < 16 ? 4 * sizeof(type) : 16) name##4 { type x, y, z, w; };                 \
  inline name##1 make_##name##1(type x) { return {x}; }                                                       \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                            \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                 \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned int, uint)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
#undef EMULATOR_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// ------------------------------------------------------------------------------------------------ the machine
extern "C" {
// They do change from thread to thread, but a thread never sees that.
extern const uint3 emulator_thread, emulator_block, emulator_block_size, emulator_grid_size;
extern char emulator_dynamic_shared[];
int emulator_barrier(int predicate, const char* file, int line);
unsigned long long emulator_warp(int operation, unsigned mask, unsigned long long value, int source, const char* file,
                                 int line);
void emulator_atomic(void* address, int size, int is_exchange, void* called_from);
void emulator_copy(void* to, const void* from, size_t bytes);
void emulator_fill(void* to, int value, size_t bytes);
}
#define threadIdx emulator_thread
#define blockIdx emulator_block
#define blockDim emulator_block_size
#define gridDim emulator_grid_size
// Default arguments are evaluated where the function is called: how the machine tells one barrier of the text from another.
#define EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATOR_PLACE) { emulator_barrier(0, file, line); }
inline int __syncthreads_count(int predicate, EMULATOR_PLACE) { return emulator_barrier(predicate != 0, file, line); }
inline int __syncthreads_or(int predicate, EMULATOR_PLACE) { return emulator_barrier(predicate != 0, file, line) != 0; }
inline int __syncthreads_and(int predicate, EMULATOR_PLACE) { return emulator_barrier(predicate == 0, file, line) == 0; }

enum { EMULATOR_SYNC, EMULATOR_VOTE, EMULATOR_SHUFFLE };  // as in machine.h
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_PLACE) {
  emulator_warp(EMULATOR_SYNC, mask, 0, 0, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return (unsigned)emulator_warp(EMULATOR_VOTE, mask, predicate != 0, 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return emulator_warp(EMULATOR_VOTE, mask, predicate != 0, 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_PLACE) {
  return emulator_warp(EMULATOR_VOTE, mask, predicate == 0, 0, file, line) == 0;
}

inline int emulator_lane() {
  return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % warpSize);
}
template <typename T>
inline T emulator_shuffle(unsigned mask, T value, int source, const char* file, int line) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = emulator_warp(EMULATOR_SHUFFLE, mask, bits, source, file, line);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
// `width` splits the warp into segments; a lane that would read beyond its segment gets its own value.
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, EMULATOR_PLACE) {
  const int first = emulator_lane() & -width;
  return emulator_shuffle(mask, value, first | (source & (width - 1)), file, line);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int distance, int width = warpSize, EMULATOR_PLACE) {
  const int lane = emulator_lane(), source = lane ^ distance;
  return emulator_shuffle(mask, value, (source & -width) <= (lane & -width) ? source : lane, file, line);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = warpSize, EMULATOR_PLACE) {
  const int lane = emulator_lane(), source = lane + (int)distance;
  return emulator_shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, file, line);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = warpSize, EMULATOR_PLACE) {
  const int lane = emulator_lane(), source = lane - (int)distance;
  return emulator_shuffle(mask, value, source >= (lane & -width) ? source : lane, file, line);
}
inline void __threadfence() {}  // threads of one processor see each other's memory as it is
inline void __threadfence_block() {}

// Threads run one at a time: an atomic operation is a plain one of which the checker is told. What follows is not watched,
// and stays a function of its own, so that it knows from where it was called.
#define EMULATOR_UNWATCHED __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined")))
#define EMULATOR_ATOMIC(name, is_exchange, result)                                     \
  template <typename T, typename U>                                                    \
  EMULATOR_UNWATCHED T name(T* address, U operand) {                                   \
    emulator_atomic(address, sizeof(T), is_exchange, __builtin_return_address(0));     \
    const T old = *address, value = (T)operand;                                        \
    *address = result;                                                                 \
    return old;                                                                        \
  }
EMULATOR_ATOMIC(atomicAdd, 0, (T)(old + value))
EMULATOR_ATOMIC(atomicSub, 0, (T)(old - value))
EMULATOR_ATOMIC(atomicMax, 0, old > value ? old : value)
EMULATOR_ATOMIC(atomicMin, 0, old < value ? old : value)
EMULATOR_ATOMIC(atomicAnd, 0, (T)(old & value))
EMULATOR_ATOMIC(atomicOr, 0, (T)(old | value))
EMULATOR_ATOMIC(atomicXor, 0, (T)(old ^ value))
EMULATOR_ATOMIC(atomicInc, 0, old >= value ? (T)0 : (T)(old + 1))
EMULATOR_ATOMIC(atomicDec, 0, old == 0 || old > value ? value : (T)(old - 1))
EMULATOR_ATOMIC(atomicExch, 1, value)
#undef EMULATOR_ATOMIC
template <typename T, typename U, typename V>
EMULATOR_UNWATCHED T atomicCAS(T* address, U expected, V value) {
  emulator_atomic(address, sizeof(T), 0, __builtin_return_address(0));
  const T old = *address;
  if (old == (T)expected) *address = (T)value;
  return old;
}

template <typename T> inline T __ldg(const T* address) { return *address; }
template <typename T> inline T __ldca(const T* address) { return *address; }
template <typename T> inline T __ldcg(const T* address) { return *address; }
template <typename T> inline T __ldcs(const T* address) { return *address; }
template <typename T> inline void __stcg(T* address, T value) { *address = value; }
template <typename T> inline void __stcs(T* address, T value) { *address = value; }
// The checker does not see into the compiler's own copies.
#define memcpy emulator_copy
#define memset emulator_fill

#include "cuda_math.h"
