// torch.ops.pytorch_ext.swiglu_forward / swiglu_backward: tensors to pointers, through torch's
// stable ABI.
#include <tuple>

#include "ops/swiglu/swiglu.h"
#include "pytorch_ext/calls.h"

namespace pytorch_ext {
namespace {

snakelm::SwigluProblem problem_of(Tensor& gate, Tensor& up) {
  check(same_shape(gate, up) && gate.scalar_type() == up.scalar_type(),
        "swiglu: gate and up of one shape [..., F] and dtype expected");
  snakelm::SwigluProblem problem;
  problem.type = element_of(gate);
  problem.rows = row_count(gate), problem.width = width_of(gate);
  problem.gate = rows_of(gate), problem.up = rows_of(up);
  return problem;
}

}  // namespace

Tensor swiglu_forward(Tensor gate, Tensor up, int64_t level) {
  snakelm::SwigluProblem problem = problem_of(gate, up);
  Tensor out = contiguous_like(gate);
  problem.out = out.mutable_data_ptr();
  raise_if(snakelm::swiglu_forward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return out;
}

std::tuple<Tensor, Tensor> swiglu_backward(Tensor grad_out, Tensor gate, Tensor up, int64_t level) {
  snakelm::SwigluProblem problem = problem_of(gate, up);
  check(same_shape(grad_out, gate) && grad_out.scalar_type() == gate.scalar_type(),
        "swiglu: a gradient like gate expected");
  problem.grad_out = rows_of(grad_out);
  Tensor grad_gate = contiguous_like(gate), grad_up = contiguous_like(gate);
  problem.grad_gate = grad_gate.mutable_data_ptr();
  problem.grad_up = grad_up.mutable_data_ptr();
  raise_if(snakelm::swiglu_backward_cpu(problem, static_cast<int>(level), threads(), parallel));
  return {grad_gate, grad_up};
}

}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("swiglu_forward(Tensor gate, Tensor up, int level) -> Tensor");
  m.def("swiglu_backward(Tensor grad_out, Tensor gate, Tensor up, int level) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("swiglu_forward", TORCH_BOX(&pytorch_ext::swiglu_forward));
  m.impl("swiglu_backward", TORCH_BOX(&pytorch_ext::swiglu_backward));
}
