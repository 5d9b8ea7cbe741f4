// torch.ops.pytorch_ext.rope: tensors to pointers, through torch's stable ABI.
#include "ops/rope/rope.h"

#include "pytorch_ext/tensors.h"

namespace pytorch_ext {
namespace {

// back: by the opposite angles, as a gradient is turned.
Tensor rope(Tensor x, Tensor cos, Tensor sin, bool back, int64_t level) {
  check(x.dim() == 4 && x.size(3) % 2 == 0, "rope: x [B, T, H, D], D even, expected");
  snakelm::RopeProblem problem;
  problem.type = element_of(x), problem.back = back;
  problem.batch = x.size(0), problem.time = x.size(1);
  problem.heads = x.size(2), problem.dim = x.size(3);
  problem.angles = angles_of(x, cos, sin);
  problem.x = heads_of(x);
  Tensor out = contiguous_like(x);
  problem.out = out.mutable_data_ptr();
  raise_if(snakelm::rope_cpu(problem, static_cast<int>(level), threads(), parallel));
  return out;
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("rope(Tensor x, Tensor cos, Tensor sin, bool back, int level) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) { m.impl("rope", TORCH_BOX(&pytorch_ext::rope)); }
