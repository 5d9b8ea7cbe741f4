// torch.ops.pytorch_ext.muon_step: tensors to pointers, through torch's stable ABI.
#include "ops/muon_step/muon_step.h"

#include "pytorch_ext/quintics.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {
namespace {

void muon_step(Tensors parameters, Tensors copies, Tensors gradients, Tensor buffer,
               std::vector<double> coefficients, double rate, double momentum, double decay,
               double scale, int64_t level, int64_t orthogonalize_level) {
  check_dense(buffer, ScalarType::Float);
  check(buffer.dim() == 3 && buffer.size(0) == static_cast<int64_t>(parameters.size()),
        "muon_step: momentum [G, M, N] for G parameters expected");
  const int64_t size = buffer.size(1) * buffer.size(2);
  const std::vector<int64_t> sizes(parameters.size(), size);
  const Tensor x = new_dense(buffer, buffer.sizes(), ScalarType::BFloat16);
  const Tensor out = contiguous_like(x);

  snakelm::MuonStepProblem problem;
  problem.momentum.size = problem.update.size = size;
  problem.momentum.gradients = inputs_of(gradients, sizes);
  problem.momentum.buffer = static_cast<float*>(buffer.mutable_data_ptr());
  problem.momentum.x = x.mutable_data_ptr();
  problem.momentum.momentum = static_cast<float>(momentum);
  problem.momentum.rest = static_cast<float>(1 - momentum);
  problem.momentum.scale = static_cast<float>(scale);

  const std::vector<snakelm::Quintic> steps = quintics_of(coefficients);
  problem.orthogonalize = orthogonalization_of(x, out, steps);

  problem.update.parameters = outputs_of(parameters, sizes);
  problem.update.copies = copies_of(copies, sizes);
  problem.update.x = out.const_data_ptr();
  problem.update.rate = static_cast<float>(rate);
  problem.update.keep = static_cast<float>(1 - decay);
  raise_if(snakelm::muon_step_cpu(problem, static_cast<int>(level),
                                  static_cast<int>(orthogonalize_level), threads(), parallel));
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "muon_step(Tensor(a!)[] parameters, Tensor(b!)[] copies, Tensor[] gradients, "
      "Tensor(c!) buffer, float[] coefficients, float rate, float momentum, float decay, "
      "float scale, int level, int orthogonalize_level) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("muon_step", TORCH_BOX(&pytorch_ext::muon_step));
}
