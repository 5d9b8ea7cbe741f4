// torch.ops.pytorch_ext.total_norm: tensors to pointers, through torch's stable ABI.
#include "ops/total_norm/total_norm.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {
namespace {

Tensor total_norm(Tensors tensors, int64_t level) {
  check(!tensors.empty(), "total_norm: at least one tensor expected");
  Tensor norm = new_dense(tensors[0], {}, ScalarType::Float);
  snakelm::TotalNormProblem problem;
  problem.sizes = sizes_of(tensors);
  problem.arrays = inputs_of(tensors, problem.sizes);
  problem.norm = static_cast<float*>(norm.mutable_data_ptr());
  raise_if(snakelm::total_norm_cpu(problem, static_cast<int>(level), threads(), parallel));
  return norm;
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("total_norm(Tensor[] tensors, int level) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("total_norm", TORCH_BOX(&pytorch_ext::total_norm));
}
