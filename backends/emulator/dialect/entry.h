// What the launcher asks of a kernel: its parameters' types, and a way to call it with arguments that lie in memory.
// Included behind the text of the kernels.
#pragma once

struct __half;
struct __nv_bfloat16;

template <typename T> struct EmulatorType { static constexpr const char* name = "struct"; };
template <> struct EmulatorType<void> { static constexpr const char* name = "void"; };
#define EMULATOR_TYPE(type, dtype) \
  template <> struct EmulatorType<type> { static constexpr const char* name = dtype; };
EMULATOR_TYPE(bool, "bool")
EMULATOR_TYPE(char, "int8") EMULATOR_TYPE(signed char, "int8") EMULATOR_TYPE(unsigned char, "uint8")
EMULATOR_TYPE(short, "int16") EMULATOR_TYPE(unsigned short, "uint16")
EMULATOR_TYPE(int, "int32") EMULATOR_TYPE(unsigned, "uint32")
EMULATOR_TYPE(long, "int64") EMULATOR_TYPE(unsigned long, "uint64")
EMULATOR_TYPE(long long, "int64") EMULATOR_TYPE(unsigned long long, "uint64")
EMULATOR_TYPE(float, "float32") EMULATOR_TYPE(double, "float64")
EMULATOR_TYPE(__half, "float16") EMULATOR_TYPE(__nv_bfloat16, "bfloat16")
#undef EMULATOR_TYPE

struct EmulatorParameter {
  const char* type;  // of the value, or of what the innermost pointer points to
  int size;          // of the value or the pointee, bytes; 0 for void
  int pointers;      // 0 value, 1 pointer, 2 table of pointers
  int is_const;      // whether what the innermost pointer points to is
};

template <typename T> struct EmulatorParameterOf {
  static constexpr EmulatorParameter value = {EmulatorType<T>::name, sizeof(T), 0, 0};
};
template <typename T> struct EmulatorParameterOf<const T> : EmulatorParameterOf<T> {};
template <typename T> struct EmulatorParameterOf<T*> {
  static constexpr EmulatorParameter value = {EmulatorType<T>::name, sizeof(T), 1, 0};
};
template <typename T> struct EmulatorParameterOf<const T*> {
  static constexpr EmulatorParameter value = {EmulatorType<T>::name, sizeof(T), 1, 1};
};
template <> struct EmulatorParameterOf<void*> { static constexpr EmulatorParameter value = {"void", 0, 1, 0}; };
template <> struct EmulatorParameterOf<const void*> { static constexpr EmulatorParameter value = {"void", 0, 1, 1}; };
#define EMULATOR_TABLE(type, constant)                                                              \
  template <typename T> struct EmulatorParameterOf<type> {                                          \
    static constexpr EmulatorParameter value = {EmulatorType<T>::name, sizeof(T), 2, constant};     \
  };
EMULATOR_TABLE(T**, 0)
EMULATOR_TABLE(T* const*, 0)
EMULATOR_TABLE(const T**, 1)
EMULATOR_TABLE(const T* const*, 1)
#undef EMULATOR_TABLE

struct EmulatorKernel {
  void (*call)(void** arguments);
  int parameter_count;
  int most_threads;  // of __launch_bounds__; 0 where it is not given
  const EmulatorParameter* parameters;
};

template <size_t...> struct EmulatorIndices {};
template <size_t n, size_t... rest> struct EmulatorCount : EmulatorCount<n - 1, n - 1, rest...> {};
template <size_t... all> struct EmulatorCount<0, all...> { typedef EmulatorIndices<all...> type; };
template <typename T> struct EmulatorPlain { typedef T type; };
template <typename T> struct EmulatorPlain<const T> { typedef T type; };

template <typename> struct EmulatorEntry;
template <typename... A> struct EmulatorEntry<void(A...)> {
  static constexpr EmulatorParameter parameters[sizeof...(A) + 1] = {EmulatorParameterOf<A>::value..., {"", 0, 0, 0}};
  template <void kernel(A...)>
  __attribute__((no_sanitize("thread"))) static void call(void** arguments) {
    with<kernel>(arguments, typename EmulatorCount<sizeof...(A)>::type());
  }
  template <void kernel(A...), size_t... i>
  __attribute__((no_sanitize("thread"))) static void with(void** arguments, EmulatorIndices<i...>) {
    kernel(*(typename EmulatorPlain<A>::type*)arguments[i]...);
  }
};
#define EMULATOR_EXPORT(kernel, most_threads, ...)                                                          \
  extern "C" __attribute__((visibility("default"), used)) const EmulatorKernel emulator_kernel_##kernel = { \
      EmulatorEntry<decltype(kernel)>::call<kernel>,                                                        \
      sizeof(EmulatorEntry<decltype(kernel)>::parameters) / sizeof(EmulatorParameter) - 1, most_threads,    \
      EmulatorEntry<decltype(kernel)>::parameters};
