// Instruction sets: which there are, which this CPU has, and how one source becomes a kernel for
// each of them.
//
// A kernel is ONE source, `<name>_kernel.cpp`. setup.py compiles it once per instruction set listed
// for it there, with that set's compiler flags and -DSNAKELM_ISA=<set>, and the kernel defines its
// functions in `namespace snakelm::SNAKELM_ISA`: two copies of one inline function compiled for
// different CPUs would otherwise be merged by the linker into whichever it met first, and crash the
// older CPU. For the same reason such a source uses no inline functions of the standard library
// beyond std::memcpy; everything else it includes lives in that namespace too.
//
// The operator's header declares the function for all instruction sets,
//
//   SNAKELM_DECLARE_KERNEL(void, saxpy, (const float* x, float a, float* y, int64_t n))
//
// and its dispatcher, compiled for any CPU, takes the best one there is:
//
//   SNAKELM_KERNEL_TABLE(SAXPY, saxpy);
//   linked_at_most(SAXPY, best_isa())(x, a, y, n);
//
// The declarations are weak: a set that setup.py doesn't list for this kernel, or that the machine
// we build on doesn't know (ARM), is a null pointer here and not an error of the linker.
#pragma once

namespace snakelm {

// Least first; a CPU that has one has all before it. pytorch_ext/dispatch.py lists the same names
// in the same order, setup.py has their compiler flags.
enum class Isa : int { portable = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3, amx = 4 };
constexpr int ISA_COUNT = 5;

// Does this CPU have it?
bool isa_runs_here(Isa isa);
Isa best_isa();

// Index of the instruction set to run, for a caller's `wanted`: itself, or the best one here for
// -1; -2 where this CPU lacks it or there is no such set.
int isa_level(int wanted);
constexpr const char* NO_SUCH_ISA = "this CPU or build lacks the requested instruction set";

#define SNAKELM_DECLARE_KERNEL(RESULT, NAME, ARGUMENTS) \
  namespace portable {                                  \
  __attribute__((weak)) RESULT NAME ARGUMENTS;          \
  }                                                     \
  namespace avx2 {                                      \
  __attribute__((weak)) RESULT NAME ARGUMENTS;          \
  }                                                     \
  namespace avx512 {                                    \
  __attribute__((weak)) RESULT NAME ARGUMENTS;          \
  }                                                     \
  namespace avx512bf16 {                                \
  __attribute__((weak)) RESULT NAME ARGUMENTS;          \
  }                                                     \
  namespace amx {                                       \
  __attribute__((weak)) RESULT NAME ARGUMENTS;          \
  }

// The kernel's functions by Isa, null where not linked.
#define SNAKELM_KERNEL_TABLE(TABLE, NAME)                                        \
  constexpr decltype(&::snakelm::portable::NAME) TABLE[::snakelm::ISA_COUNT] = { \
      ::snakelm::portable::NAME, ::snakelm::avx2::NAME, ::snakelm::avx512::NAME, \
      ::snakelm::avx512bf16::NAME, ::snakelm::amx::NAME}

// The best of a kernel's functions that is linked and needs no more than `isa`.
template <class Function>
Function* linked_at_most(Function* const (&kernels)[ISA_COUNT], Isa isa) {
  int i = static_cast<int>(isa);
  while (i > 0 && !kernels[i]) --i;
  return kernels[i];
}

}  // namespace snakelm
