// Muon's momentum and update on one CPU core, for any vector width; compiled once for each
// instruction set (common/isa.h).
#include "ops/muon_step/muon_step.h"

#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

void muon_momentum(const MuonMomentumProblem& p, int64_t matrix) {
  const float* const gradient = p.gradients[matrix];
  float* const buffer = p.buffer + matrix * p.size;
  BFloat16* const x = static_cast<BFloat16*>(p.x) + matrix * p.size;
  const Vec scale = splat(p.scale), momentum = splat(p.momentum), rest = splat(p.rest);
  along(p.size, [&](int64_t j, auto lanes) {
    const Vec g = read(gradient + j, lanes) * scale, before = read(buffer + j, lanes);
    const Vec m = multiply_add(rest, g - before, before);
    write(m, buffer + j, lanes);
    write(multiply_add(momentum, m - g, g), x + j, lanes);
  });
}

void muon_update(const MuonUpdateProblem& p, int64_t matrix) {
  float* const parameter = p.parameters[matrix];
  BFloat16* const copy = p.copies[matrix] ? static_cast<BFloat16*>(p.copies[matrix]) : nullptr;
  const BFloat16* const x = static_cast<const BFloat16*>(p.x) + matrix * p.size;
  const Vec keep = splat(p.keep), rate = splat(-p.rate);
  along(p.size, [&](int64_t j, auto lanes) {
    const Vec moved = multiply_add(rate, read(x + j, lanes), read(parameter + j, lanes) * keep);
    write(moved, parameter + j, lanes);
    if (copy) write(moved, copy + j, lanes);
  });
}

}  // namespace snakelm::SNAKELM_ISA
