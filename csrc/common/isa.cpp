#include "common/isa.h"

#include <array>

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace snakelm {
namespace {

// AMX-TILE and AMX-BF16, and Linux's leave to use them: the eight kilobytes of tiles are part of a
// thread's state only where its process has asked (once; asking again is harmless). A kernel too
// old to know the question, or one that says no, has no AMX.
bool amx_runs_here() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned AMX_BF16 = 1u << 22, AMX_TILE = 1u << 24;  // cpuid leaf 7, edx
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;   // asm/prctl.h; XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if (!(d & AMX_BF16) || !(d & AMX_TILE)) return false;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

#if defined(__x86_64__)
// Clang 14 does not know its name in __builtin_cpu_supports. What the system must save for it is
// AVX's, and is asked for there.
bool f16c_runs_here() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

bool cpu_has(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c_runs_here();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  switch (isa) {
    case Isa::avx2: return avx2;
    case Isa::avx512: return avx512;
    case Isa::avx512bf16: return avx512bf16;
    case Isa::amx: return avx512bf16 && amx_runs_here();
    case Isa::portable: break;
  }
#endif
  return isa == Isa::portable;
}

}  // namespace

// Asked once: a virtual machine's host answers cpuid, which takes microseconds, and an operator
// asks for its instruction set in each call.
bool isa_runs_here(Isa isa) {
  static const auto here = [] {
    std::array<bool, ISA_COUNT> all{};
    for (int level = 0; level < ISA_COUNT; ++level) all[level] = cpu_has(static_cast<Isa>(level));
    return all;
  }();
  return here[static_cast<int>(isa)];
}

Isa best_isa() {
  int level = ISA_COUNT - 1;
  while (!isa_runs_here(static_cast<Isa>(level))) --level;
  return static_cast<Isa>(level);
}

int isa_level(int wanted) {
  if (wanted < 0) return static_cast<int>(best_isa());
  return wanted < ISA_COUNT && isa_runs_here(static_cast<Isa>(wanted)) ? wanted : -2;
}

}  // namespace snakelm
