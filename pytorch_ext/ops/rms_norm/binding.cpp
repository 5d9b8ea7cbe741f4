// torch.ops.pytorch_ext.rms_norm_* and add_rms_norm_*: tensors to pointers, through torch's stable
// ABI.
#include <tuple>

#include "ops/rms_norm/rms_norm.h"
#include "pytorch_ext/calls.h"

namespace pytorch_ext {
namespace {

// x: what is normalised, or one of two summands.
snakelm::RmsNormProblem problem_of(Tensor& x, std::optional<Tensor>& weight, double eps) {
  snakelm::RmsNormProblem problem;
  problem.type = element_of(x);
  problem.rows = row_count(x), problem.width = width_of(x);
  problem.eps = static_cast<float>(eps);
  problem.x = rows_of(x);
  if (weight) problem.weight = floats_of(*weight, problem.width);
  return problem;
}

void check_like(const Tensor& tensor, const Tensor& x) {
  check(same_shape(tensor, x) && tensor.scalar_type() == x.scalar_type(),
        "rms_norm: residual and gradients of the shape and dtype of x expected");
}

}  // namespace

Tensor rms_norm_forward(Tensor x, std::optional<Tensor> weight, double eps, int64_t level) {
  snakelm::RmsNormProblem problem = problem_of(x, weight, eps);
  Tensor out = contiguous_like(x);
  problem.out = out.mutable_data_ptr();
  raise_if(snakelm::rms_norm_forward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return out;
}

std::tuple<Tensor, Tensor> add_rms_norm_forward(Tensor x, Tensor residual,
                                                std::optional<Tensor> weight, double eps,
                                                int64_t level) {
  snakelm::RmsNormProblem problem = problem_of(x, weight, eps);
  check_like(residual, x);
  problem.residual = rows_of(residual);
  Tensor out = contiguous_like(x), sum = contiguous_like(x);
  problem.out = out.mutable_data_ptr(), problem.sum = sum.mutable_data_ptr();
  raise_if(snakelm::rms_norm_forward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return {out, sum};
}

// x: what was normalised. The second result is empty without a weight.
std::tuple<Tensor, Tensor> rms_norm_backward(Tensor grad_out, std::optional<Tensor> grad_sum,
                                             Tensor x, std::optional<Tensor> weight, double eps,
                                             int64_t level) {
  snakelm::RmsNormProblem problem = problem_of(x, weight, eps);
  check_like(grad_out, x);
  problem.grad_out = rows_of(grad_out);
  if (grad_sum) {
    check_like(*grad_sum, x);
    problem.grad_sum = rows_of(*grad_sum);
  }

  Tensor grad_x = contiguous_like(x);
  Tensor grad_weight = new_dense(x, {weight ? problem.width : 0}, ScalarType::Float);
  problem.grad_x = grad_x.mutable_data_ptr();
  problem.grad_weight = static_cast<float*>(grad_weight.mutable_data_ptr());
  raise_if(snakelm::rms_norm_backward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return {grad_x, grad_weight};
}

}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("rms_norm_forward(Tensor x, Tensor? weight, float eps, int level) -> Tensor");
  m.def(
      "add_rms_norm_forward(Tensor x, Tensor residual, Tensor? weight, float eps, int level) -> "
      "(Tensor, Tensor)");
  m.def(
      "rms_norm_backward(Tensor grad_out, Tensor? grad_sum, Tensor x, Tensor? weight, float eps, "
      "int level) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("rms_norm_forward", TORCH_BOX(&pytorch_ext::rms_norm_forward));
  m.impl("add_rms_norm_forward", TORCH_BOX(&pytorch_ext::add_rms_norm_forward));
  m.impl("rms_norm_backward", TORCH_BOX(&pytorch_ext::rms_norm_backward));
}
