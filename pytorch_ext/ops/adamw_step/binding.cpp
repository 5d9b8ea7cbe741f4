// torch.ops.pytorch_ext.adamw_step: tensors to pointers, through torch's stable ABI.
#include <cmath>

#include "ops/adamw_step/adamw_step.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {
namespace {

void adamw_step(Tensors parameters, Tensors copies, Tensors gradients, Tensors averages,
                Tensors squares, int64_t step, std::vector<double> rates, double beta1,
                double beta2, double eps, double scale, int64_t level) {
  check(step >= 1, "adamw_step: steps count from 1");
  snakelm::AdamwProblem problem;
  problem.sizes = sizes_of(parameters);
  problem.parameters = outputs_of(parameters, problem.sizes);
  problem.copies = copies_of(copies, problem.sizes);
  problem.gradients = inputs_of(gradients, problem.sizes);
  problem.averages = outputs_of(averages, problem.sizes);
  problem.squares = outputs_of(squares, problem.sizes);

  const double steps = static_cast<double>(step);
  check(rates.size() == parameters.size(), "a rate for each parameter expected");
  for (const double rate : rates)
    problem.rates.push_back(static_cast<float>(rate / (1 - std::pow(beta1, steps))));
  problem.root = static_cast<float>(std::sqrt(1 - std::pow(beta2, steps)));
  problem.rest1 = static_cast<float>(1 - beta1);
  problem.beta2 = static_cast<float>(beta2), problem.rest2 = static_cast<float>(1 - beta2);
  problem.eps = static_cast<float>(eps), problem.scale = static_cast<float>(scale);
  raise_if(snakelm::adamw_step_cpu(problem, static_cast<int>(level), threads(), parallel));
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "adamw_step(Tensor(a!)[] parameters, Tensor(b!)[] copies, Tensor[] gradients, "
      "Tensor(c!)[] averages, Tensor(d!)[] squares, int step, float[] rates, float beta1, "
      "float beta2, float eps, float scale, int level) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("adamw_step", TORCH_BOX(&pytorch_ext::adamw_step));
}
