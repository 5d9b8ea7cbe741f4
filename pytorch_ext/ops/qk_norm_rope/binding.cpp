// torch.ops.pytorch_ext.qk_norm_rope_forward / qk_norm_rope_backward: tensors to pointers, through
// torch's stable ABI.
#include "ops/qk_norm_rope/qk_norm_rope.h"

#include <tuple>

#include "pytorch_ext/calls.h"

namespace pytorch_ext {
namespace {

using snakelm::QkNormRopeProblem;

QkNormRopeProblem problem_of(Tensor& q, Tensor& k, Tensor& q_weight, Tensor& k_weight, Tensor& cos,
                             Tensor& sin, double eps) {
  check(q.dim() == 4 && k.dim() == 4 && q.scalar_type() == k.scalar_type() &&
            q.size(0) == k.size(0) && q.size(1) == k.size(1) && q.size(3) == k.size(3) &&
            q.size(3) % 2 == 0,
        "qk_norm_rope: q [B, T, H, D] and k [B, T, Hkv, D] of one dtype, D even, expected");
  QkNormRopeProblem problem;
  problem.type = element_of(q);
  problem.batch = q.size(0), problem.time = q.size(1), problem.dim = q.size(3);
  problem.eps = static_cast<float>(eps);
  problem.angles = angles_of(q, cos, sin);
  problem.parts[0].heads = q.size(2), problem.parts[1].heads = k.size(2);
  problem.parts[0].x = heads_of(q), problem.parts[1].x = heads_of(k);
  problem.parts[0].weight = floats_of(q_weight, problem.dim);
  problem.parts[1].weight = floats_of(k_weight, problem.dim);
  return problem;
}

}  // namespace

std::tuple<Tensor, Tensor> qk_norm_rope_forward(Tensor q, Tensor k, Tensor q_weight,
                                                Tensor k_weight, Tensor cos, Tensor sin, double eps,
                                                int64_t level) {
  QkNormRopeProblem problem = problem_of(q, k, q_weight, k_weight, cos, sin, eps);
  Tensor out_q = contiguous_like(q), out_k = contiguous_like(k);
  problem.parts[0].out = out_q.mutable_data_ptr(), problem.parts[1].out = out_k.mutable_data_ptr();
  raise_if(
      snakelm::qk_norm_rope_forward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return {out_q, out_k};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> qk_norm_rope_backward(Tensor grad_q, Tensor grad_k,
                                                                 Tensor q, Tensor k,
                                                                 Tensor q_weight, Tensor k_weight,
                                                                 Tensor cos, Tensor sin, double eps,
                                                                 int64_t level) {
  QkNormRopeProblem problem = problem_of(q, k, q_weight, k_weight, cos, sin, eps);
  check(same_shape(grad_q, q) && same_shape(grad_k, k) && element_of(grad_q) == problem.type &&
            element_of(grad_k) == problem.type,
        "qk_norm_rope: gradients like q and k expected");
  problem.parts[0].grad_out = heads_of(grad_q), problem.parts[1].grad_out = heads_of(grad_k);

  Tensor made[] = {contiguous_like(q), contiguous_like(k), contiguous_like(q_weight),
                   contiguous_like(k_weight)};
  for (int i = 0; i < 2; ++i) {
    problem.parts[i].grad_x = made[i].mutable_data_ptr();
    problem.parts[i].grad_weight = static_cast<float*>(made[2 + i].mutable_data_ptr());
  }
  raise_if(
      snakelm::qk_norm_rope_backward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return {made[0], made[1], made[2], made[3]};
}

}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "qk_norm_rope_forward(Tensor q, Tensor k, Tensor q_weight, Tensor k_weight, Tensor cos, "
      "Tensor sin, float eps, int level) -> (Tensor, Tensor)");
  m.def(
      "qk_norm_rope_backward(Tensor grad_q, Tensor grad_k, Tensor q, Tensor k, Tensor q_weight, "
      "Tensor k_weight, Tensor cos, Tensor sin, float eps, int level) -> (Tensor, Tensor, Tensor, "
      "Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("qk_norm_rope_forward", TORCH_BOX(&pytorch_ext::qk_norm_rope_forward));
  m.impl("qk_norm_rope_backward", TORCH_BOX(&pytorch_ext::qk_norm_rope_backward));
}
