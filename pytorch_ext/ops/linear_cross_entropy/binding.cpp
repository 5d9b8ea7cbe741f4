// torch.ops.pytorch_ext.linear_cross_entropy_forward / _backward: tensors to pointers, through
// torch's stable ABI.
#include <cmath>
#include <tuple>
#include <vector>

#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "pytorch_ext/tensors.h"

namespace pytorch_ext {
namespace {

constexpr int64_t TERMS = sizeof(snakelm::RowTerms) / sizeof(float);

bool is_matrix_of(const Tensor& tensor, int64_t rows, int64_t width) {
  return tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == width;
}

// A problem, and what keeps its memory alive.
struct Call {
  Call(Tensor given_x, Tensor given_weight, Tensor given_target, int64_t ignore_index, bool mean,
       double z_loss, double softcap)
      : x(given_x), weight(given_weight), target(given_target) {
    check(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1),
          "linear_cross_entropy: x [N, C] and weight [V, C] expected");
    problem.type = element_of(x), problem.weight_type = element_of(weight);
    check(problem.weight_type == problem.type || problem.weight_type == Element::float32,
          "linear_cross_entropy: a weight of x's dtype or float32 expected");
    check(target.is_cpu() && target.scalar_type() == ScalarType::Long && target.dim() == 1 &&
              target.size(0) == x.size(0),
          "linear_cross_entropy: target int64 [N] on the CPU expected");
    check(weight.is_cpu(), "linear_cross_entropy: weight on the CPU expected");

    problem.x = rows_of(x), problem.weight = rows_of(weight);
    if (!target.is_contiguous()) target = torch::stable::contiguous(target);
    problem.width = x.size(1), problem.vocabulary = weight.size(0);
    problem.target = static_cast<const int64_t*>(target.const_data_ptr());
    keep(ignore_index);
    problem.rows = static_cast<int64_t>(kept.size()), problem.kept = kept.data();
    problem.z_loss = static_cast<float>(z_loss), problem.softcap = static_cast<float>(softcap);
    share = mean && !kept.empty() ? 1.0 / static_cast<double>(kept.size()) : 1.0;
  }

  void keep(int64_t ignore_index) {
    for (int64_t i = 0; i < target.size(0); ++i) {
      const int64_t t = problem.target[i];
      if (t == ignore_index) continue;
      if (t < 0 || t >= problem.vocabulary) {
        throw std::runtime_error("pytorch_ext: linear_cross_entropy: target " + std::to_string(t) +
                                 " is out of range; [0, " + std::to_string(problem.vocabulary) +
                                 ") expected");
      }
      kept.push_back(i);
    }
  }

  Tensor x, weight, target;
  std::vector<int64_t> kept;
  double share;
  snakelm::LinearCrossEntropyProblem problem;
};

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(Tensor x, Tensor weight, Tensor target,
                                                   int64_t ignore_index, bool mean, double z_loss,
                                                   double softcap, bool wants_x, bool wants_weight,
                                                   int64_t level) {
  Call call(x, weight, target, ignore_index, mean, z_loss, softcap);
  snakelm::LinearCrossEntropyProblem& problem = call.problem;
  const bool both = wants_weight && problem.type == Element::float32;
  std::vector<float> losses(call.kept.size());
  Tensor terms = torch::stable::new_zeros(x, {x.size(0), TERMS}, ScalarType::Float);
  Tensor grad_x = wants_x || both
                      ? torch::stable::new_zeros(x, x.sizes())  // of ignored rows it stays so
                      : new_dense(x, {0});
  problem.loss = losses.data(), problem.scale = static_cast<float>(call.share);
  problem.terms = static_cast<snakelm::RowTerms*>(terms.mutable_data_ptr());
  problem.grad_x = wants_x || both ? grad_x.mutable_data_ptr() : nullptr;
  Tensor grad_weight = both ? contiguous_like(weight) : new_dense(weight, {0});
  if (both) problem.grad_weight = grad_weight.mutable_data_ptr();
  if (both && call.kept.empty()) torch::stable::zero_(grad_weight);
  const auto pass =
      both ? snakelm::linear_cross_entropy_both_cpu : snakelm::linear_cross_entropy_rows_cpu;
  raise_if(pass(problem, static_cast<int>(level), threads(), parallel));

  double total = 0;
  for (const float loss : losses) total += loss;
  Tensor loss = new_dense(x, {}, ScalarType::Float);
  *static_cast<float*>(loss.mutable_data_ptr()) = static_cast<float>(total * call.share);
  return {loss, grad_x, grad_weight, terms};
}

Tensor backward(Tensor grad_loss, Tensor x, Tensor weight, Tensor target, Tensor terms,
                int64_t ignore_index, bool mean, double z_loss, double softcap, int64_t level) {
  Call call(x, weight, target, ignore_index, mean, z_loss, softcap);
  check(is_matrix_of(terms, x.size(0), TERMS) && terms.is_contiguous() && terms.is_cpu() &&
            terms.scalar_type() == ScalarType::Float,
        "linear_cross_entropy: the terms that forward returned expected");
  check(
      grad_loss.numel() == 1 && grad_loss.is_cpu() && grad_loss.scalar_type() == ScalarType::Float,
      "linear_cross_entropy: a gradient float32 [] expected");

  const float grad = *static_cast<const float*>(grad_loss.const_data_ptr());
  Tensor grad_weight = contiguous_like(weight);
  call.problem.scale = static_cast<float>(grad * call.share);
  call.problem.terms = static_cast<snakelm::RowTerms*>(terms.mutable_data_ptr());
  call.problem.grad_weight = grad_weight.mutable_data_ptr();
  raise_if(snakelm::linear_cross_entropy_vocabulary_cpu(call.problem, static_cast<int>(level),
                                                        threads(), parallel));
  return grad_weight;
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "linear_cross_entropy_forward(Tensor x, Tensor weight, Tensor target, int ignore_index, "
      "bool mean, float z_loss, float softcap, bool wants_x, bool wants_weight, int level) -> "
      "(Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "linear_cross_entropy_backward(Tensor grad_loss, Tensor x, Tensor weight, Tensor target, "
      "Tensor terms, int ignore_index, bool mean, float z_loss, float softcap, int level) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("linear_cross_entropy_forward", TORCH_BOX(&pytorch_ext::forward));
  m.impl("linear_cross_entropy_backward", TORCH_BOX(&pytorch_ext::backward));
}
