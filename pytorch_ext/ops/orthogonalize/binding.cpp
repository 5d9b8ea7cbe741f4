// torch.ops.pytorch_ext.orthogonalize: tensors to pointers, through torch's stable ABI.
#include "pytorch_ext/quintics.h"

namespace pytorch_ext {
namespace {

Tensor orthogonalize(Tensor x, std::vector<double> coefficients, int64_t level) {
  check(x.dim() == 3 && x.scalar_type() == ScalarType::BFloat16,
        "orthogonalize: x bfloat16 [G, M, N] expected");
  if (!x.is_contiguous()) x = torch::stable::contiguous(x);

  const std::vector<snakelm::Quintic> steps = quintics_of(coefficients);
  Tensor out = contiguous_like(x);
  const snakelm::OrthogonalizeProblem problem = orthogonalization_of(x, out, steps);
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
