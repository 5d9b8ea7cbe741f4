#include "common/isa.h"

namespace snakelm {

bool isa_runs_here(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::avx2: return avx2;
    case Isa::avx512: return avx512;
    case Isa::avx512bf16: return avx512 && __builtin_cpu_supports("avx512bf16");
    case Isa::portable: break;
  }
#endif
  return isa == Isa::portable;
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
