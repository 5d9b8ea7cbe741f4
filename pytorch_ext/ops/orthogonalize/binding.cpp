// torch.ops.pytorch_ext.orthogonalize: tensors to pointers, through torch's stable ABI.
#include <vector>

#include "ops/orthogonalize/orthogonalize.h"
#include "pytorch_ext/tensors.h"

namespace pytorch_ext {
namespace {

Tensor orthogonalize(Tensor x, std::vector<double> coefficients, int64_t level) {
  check(x.dim() == 3 && x.scalar_type() == ScalarType::BFloat16,
        "orthogonalize: x bfloat16 [G, M, N] expected");
  check(!coefficients.empty() && coefficients.size() % 3 == 0,
        "orthogonalize: three coefficients a step expected");
  if (!x.is_contiguous()) x = torch::stable::contiguous(x);

  std::vector<snakelm::Quintic> steps;
  for (size_t i = 0; i < coefficients.size(); i += 3) {
    steps.push_back({static_cast<float>(coefficients[i]), static_cast<float>(coefficients[i + 1]),
                     static_cast<float>(coefficients[i + 2])});
  }
  Tensor out = contiguous_like(x);
  snakelm::OrthogonalizeProblem problem;
  problem.matrices = x.size(0), problem.rows = x.size(1), problem.columns = x.size(2);
  problem.x = x.const_data_ptr(), problem.out = out.mutable_data_ptr();
  problem.steps = steps.data(), problem.step_count = static_cast<int64_t>(steps.size());
  raise_if(snakelm::orthogonalize_cpu(problem, static_cast<int>(level), threads(), parallel));
  return out;
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("orthogonalize(Tensor x, float[] coefficients, int level) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("orthogonalize", TORCH_BOX(&pytorch_ext::orthogonalize));
}
