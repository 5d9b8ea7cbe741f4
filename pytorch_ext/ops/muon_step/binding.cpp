// torch.ops.pytorch_ext.muon_momentum / muon_update: tensors to pointers, through torch's stable
// ABI.
#include "ops/muon_step/muon_step.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {
namespace {

void check_batch(const Tensor& batch, size_t matrices, ScalarType type) {
  check_dense(batch, type);
  check(batch.dim() == 3 && batch.size(0) == static_cast<int64_t>(matrices),
        "muon_step: momentum [G, M, N] for G parameters expected");
}

Tensor momentum(Tensors gradients, Tensor buffer, double momentum, double scale, int64_t level) {
  check_batch(buffer, gradients.size(), ScalarType::Float);
  snakelm::MuonMomentumProblem problem;
  problem.size = buffer.size(1) * buffer.size(2);
  problem.gradients = inputs_of(gradients, std::vector<int64_t>(gradients.size(), problem.size));
  Tensor x = torch::stable::new_empty(buffer, buffer.sizes(), ScalarType::BFloat16);
  problem.buffer = static_cast<float*>(buffer.mutable_data_ptr());
  problem.x = x.mutable_data_ptr();
  problem.momentum = static_cast<float>(momentum);
  problem.rest = static_cast<float>(1 - momentum);
  problem.scale = static_cast<float>(scale);
  raise_if(snakelm::muon_momentum_cpu(problem, static_cast<int>(level), threads(), parallel));
  return x;
}

void update(Tensors parameters, Tensors copies, Tensor x, double rate, double decay,
            int64_t level) {
  check_batch(x, parameters.size(), ScalarType::BFloat16);
  snakelm::MuonUpdateProblem problem;
  problem.size = x.size(1) * x.size(2);
  const std::vector<int64_t> sizes(parameters.size(), problem.size);
  problem.parameters = outputs_of(parameters, sizes);
  problem.copies = copies_of(copies, sizes);
  problem.x = x.const_data_ptr();
  problem.rate = static_cast<float>(rate);
  problem.keep = static_cast<float>(1 - decay);
  raise_if(snakelm::muon_update_cpu(problem, static_cast<int>(level), threads(), parallel));
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "muon_momentum(Tensor[] gradients, Tensor(a!) buffer, float momentum, float scale, "
      "int level) -> Tensor");
  m.def(
      "muon_update(Tensor(a!)[] parameters, Tensor(b!)[] copies, Tensor x, float rate, "
      "float decay, int level) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("muon_momentum", TORCH_BOX(&pytorch_ext::momentum));
  m.impl("muon_update", TORCH_BOX(&pytorch_ext::update));
}
