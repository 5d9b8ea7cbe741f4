// torch.ops.pytorch_ext.weight_gradients: tensors to pointers, through torch's stable ABI.
#include <vector>

#include "ops/weight_gradients/weight_gradients.h"
#include "pytorch_ext/calls.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {

Tensors weight_gradients(Tensor x, Tensors gradients, int64_t level) {
  check(x.dim() == 2 && x.scalar_type() == ScalarType::BFloat16,
        "weight_gradients: x bfloat16 [N, C] expected");
  snakelm::WeightGradientsProblem problem;
  problem.count = x.size(0), problem.width = x.size(1);
  problem.x = rows_of(x);

  Tensors made;
  for (Tensor& gradient : gradients) {
    check(gradient.dim() == 2 && gradient.size(0) == problem.count &&
              gradient.scalar_type() == ScalarType::BFloat16 && gradient.is_cpu(),
          "weight_gradients: gradients bfloat16 [N, R] expected, as many rows as x");
    made.push_back(new_dense(x, {gradient.size(1), problem.width}, ScalarType::Float));
    problem.weights.push_back(
        {rows_of(gradient), gradient.size(1), static_cast<float*>(made.back().mutable_data_ptr())});
  }
  raise_if(snakelm::weight_gradients_cpu(problem, static_cast<int>(level), threads(), parallel));
  return made;
}

}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("weight_gradients(Tensor x, Tensor[] gradients, int level) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("weight_gradients", TORCH_BOX(&pytorch_ext::weight_gradients));
}
