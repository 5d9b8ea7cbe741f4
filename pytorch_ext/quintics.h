// The orthogonalisation's arguments, for the two operators that take it.
#pragma once

#include <vector>

#include "ops/orthogonalize/orthogonalize.h"
#include "pytorch_ext/tensors.h"

namespace pytorch_ext {

inline std::vector<snakelm::Quintic> quintics_of(const std::vector<double>& coefficients) {
  check(!coefficients.empty() && coefficients.size() % 3 == 0,
        "orthogonalize: three coefficients a step expected");
  std::vector<snakelm::Quintic> steps;
  for (size_t i = 0; i < coefficients.size(); i += 3) {
    steps.push_back({static_cast<float>(coefficients[i]), static_cast<float>(coefficients[i + 1]),
                     static_cast<float>(coefficients[i + 2])});
  }
  return steps;
}

// x and out: bfloat16 [G, M, N], dense. Points into all three.
inline snakelm::OrthogonalizeProblem orthogonalization_of(
    const Tensor& x, const Tensor& out, const std::vector<snakelm::Quintic>& steps) {
  snakelm::OrthogonalizeProblem problem;
  problem.matrices = x.size(0), problem.rows = x.size(1), problem.columns = x.size(2);
  problem.x = x.const_data_ptr(), problem.out = out.mutable_data_ptr();
  problem.steps = steps.data(), problem.step_count = static_cast<int64_t>(steps.size());
  return problem;
}

}  // namespace pytorch_ext
