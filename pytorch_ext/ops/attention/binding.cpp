// torch.ops.pytorch_ext.attention_forward / attention_backward: tensors to pointers, through
// torch's stable ABI.
//
// Shapes, dtypes and devices are checked in Python (pytorch_ext/ops/attention), where the error can
// say what to do; here only what would read out of bounds is checked again.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "ops/attention/attention.h"

namespace {

using snakelm::AttentionProblem;
using snakelm::AttentionType;
using snakelm::AttentionView;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check(bool holds, const char* message) {
  if (!holds) throw std::runtime_error(std::string("pytorch_ext.attention: ") + message);
}

AttentionType type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return AttentionType::float32;
    case ScalarType::BFloat16: return AttentionType::bfloat16;
    case ScalarType::Half: return AttentionType::float16;
    default:
      throw std::runtime_error("pytorch_ext.attention: float32, bfloat16 or float16 expected");
  }
}

// Any strides will do as long as the head dimension is dense; the copy is kept alive by the
// caller's variable.
Tensor with_dense_rows(const Tensor& tensor) {
  return tensor.stride(3) == 1 ? tensor : torch::stable::contiguous(tensor);
}

AttentionView view_of(const Tensor& tensor) {
  return {tensor.const_data_ptr(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

AttentionProblem problem_of(const Tensor& q, const Tensor& k, const Tensor& v,
                            const std::optional<Tensor>& row_start, double scale) {
  check(q.dim() == 4 && k.dim() == 4 && v.dim() == 4, "q, k, v [B, T, H, D] expected");
  AttentionProblem problem;
  problem.batch = q.size(0), problem.time = q.size(1), problem.heads = q.size(2),
  problem.head_dim = q.size(3);
  problem.kv_heads = k.size(2);
  problem.scale = static_cast<float>(scale);
  problem.type = type_of(q);
  check(type_of(k) == problem.type && type_of(v) == problem.type, "q, k, v of one dtype expected");
  for (const Tensor* t : {&k, &v}) {
    check(t->size(0) == problem.batch && t->size(1) == problem.time &&
              t->size(2) == problem.kv_heads && t->size(3) == problem.head_dim,
          "k and v [B, T, Hkv, D] expected, B, T and D as in q");
  }
  check(problem.kv_heads > 0 && problem.heads % problem.kv_heads == 0,
        "H must be a multiple of Hkv");
  problem.q = view_of(q), problem.k = view_of(k), problem.v = view_of(v);
  if (row_start) {
    check(row_start->scalar_type() == ScalarType::Int && row_start->is_contiguous() &&
              row_start->dim() == 2 && row_start->size(0) == problem.batch &&
              row_start->size(1) == problem.time,
          "row_start int32 [B, T], contiguous, expected");
    problem.row_start = static_cast<const int32_t*>(row_start->const_data_ptr());
  }
  return problem;
}

void parallel(int64_t n, void (*body)(int64_t, void*), void* context) {
  torch::stable::parallel_for(0, n, 1, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i, context);
  });
}

void raise_if(const char* message) {
  if (message) throw std::runtime_error(std::string("pytorch_ext.attention: ") + message);
}

std::tuple<Tensor, Tensor> outputs(const Tensor& q) {
  Tensor out = torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2), q.size(3)});
  Tensor log_sum =
      torch::stable::new_empty(q, {q.size(0), q.size(2), q.size(1)}, ScalarType::Float);
  return {out, log_sum};
}

std::tuple<Tensor, Tensor> forward_cpu(Tensor q, Tensor k, Tensor v,
                                       std::optional<Tensor> row_start, double scale,
                                       int64_t level) {
  q = with_dense_rows(q), k = with_dense_rows(k), v = with_dense_rows(v);
  if (row_start) row_start = torch::stable::contiguous(*row_start);
  AttentionProblem problem = problem_of(q, k, v, row_start, scale);
  check(problem.type != AttentionType::float16, "the CPU kernels take float32 and bfloat16");
  auto [out, log_sum] = outputs(q);
  problem.out = out.mutable_data_ptr();
  problem.log_sum = static_cast<float*>(log_sum.mutable_data_ptr());
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  raise_if(snakelm::attention_forward_cpu(problem, static_cast<int>(level), threads, parallel));
  return {out, log_sum};
}

struct Gradients {
  Tensor q, k, v;
};

Gradients gradients(AttentionProblem& problem, const Tensor& grad_out, const Tensor& out,
                    const Tensor& log_sum) {
  const int64_t b = problem.batch, t = problem.time, d = problem.head_dim;
  check(out.is_contiguous() && log_sum.is_contiguous(),
        "out and log_sum as forward made them expected");
  check(grad_out.dim() == 4 && grad_out.size(0) == b && grad_out.size(1) == t &&
            grad_out.size(2) == problem.heads && grad_out.size(3) == d &&
            type_of(grad_out) == problem.type,
        "a gradient like out expected");
  Gradients made{torch::stable::new_empty(out, {b, t, problem.heads, d}),
                 torch::stable::new_empty(out, {b, t, problem.kv_heads, d}),
                 torch::stable::new_empty(out, {b, t, problem.kv_heads, d})};
  problem.grad_out = view_of(grad_out);
  problem.out = out.data_ptr();
  problem.log_sum = static_cast<float*>(log_sum.data_ptr());
  problem.grad_q = made.q.mutable_data_ptr();
  problem.grad_k = made.k.mutable_data_ptr();
  problem.grad_v = made.v.mutable_data_ptr();
  return made;
}

std::tuple<Tensor, Tensor, Tensor> backward_cpu(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                Tensor out, Tensor log_sum,
                                                std::optional<Tensor> row_start, double scale,
                                                int64_t level) {
  grad_out = with_dense_rows(grad_out), q = with_dense_rows(q), k = with_dense_rows(k),
  v = with_dense_rows(v);
  if (row_start) row_start = torch::stable::contiguous(*row_start);
  out = torch::stable::contiguous(out), log_sum = torch::stable::contiguous(log_sum);
  AttentionProblem problem = problem_of(q, k, v, row_start, scale);
  const Gradients made = gradients(problem, grad_out, out, log_sum);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  raise_if(snakelm::attention_backward_cpu(problem, static_cast<int>(level), threads, parallel));
  return {made.q, made.k, made.v};
}

#if defined(SNAKELM_WITH_CUDA)
// In libtorch_cuda, which a CPU-only torch lacks: weak, so that the library opens there too.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream)
    __attribute__((weak));

void* current_stream(const Tensor& tensor) {
  check(aoti_torch_get_current_cuda_stream, "the installed torch has no CUDA");
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return stream;
}

void raise_if_cuda(int code) {
  if (code)
    throw std::runtime_error(std::string("pytorch_ext.attention: CUDA: ") +
                             snakelm_cuda_error(code));
}

std::tuple<Tensor, Tensor> forward_cuda(Tensor q, Tensor k, Tensor v,
                                        std::optional<Tensor> row_start, double scale, int64_t) {
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  q = with_dense_rows(q), k = with_dense_rows(k), v = with_dense_rows(v);
  if (row_start) row_start = torch::stable::contiguous(*row_start);
  AttentionProblem problem = problem_of(q, k, v, row_start, scale);
  auto [out, log_sum] = outputs(q);
  problem.out = out.mutable_data_ptr();
  problem.log_sum = static_cast<float*>(log_sum.mutable_data_ptr());
  raise_if_cuda(snakelm_attention_forward_cuda(&problem, current_stream(q)));
  return {out, log_sum};
}

std::tuple<Tensor, Tensor, Tensor> backward_cuda(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                 Tensor out, Tensor log_sum,
                                                 std::optional<Tensor> row_start, double scale,
                                                 int64_t) {
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  grad_out = with_dense_rows(grad_out), q = with_dense_rows(q), k = with_dense_rows(k),
  v = with_dense_rows(v);
  if (row_start) row_start = torch::stable::contiguous(*row_start);
  out = torch::stable::contiguous(out), log_sum = torch::stable::contiguous(log_sum);
  AttentionProblem problem = problem_of(q, k, v, row_start, scale);
  const Gradients made = gradients(problem, grad_out, out, log_sum);
  const Tensor delta = torch::stable::empty_like(log_sum);
  float* const workspace = static_cast<float*>(delta.mutable_data_ptr());
  if (log_sum.numel())
    raise_if_cuda(snakelm_attention_backward_cuda(&problem, workspace, current_stream(q)));
  return {made.q, made.k, made.v};
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "attention_forward(Tensor q, Tensor k, Tensor v, Tensor? row_start, float scale, int level) "
      "-> (Tensor, Tensor)");
  m.def(
      "attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor "
      "log_sum, "
      "Tensor? row_start, float scale, int level) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("attention_forward", TORCH_BOX(&forward_cpu));
  m.impl("attention_backward", TORCH_BOX(&backward_cpu));
}

#if defined(SNAKELM_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CUDA, m) {
  m.impl("attention_forward", TORCH_BOX(&forward_cuda));
  m.impl("attention_backward", TORCH_BOX(&backward_cuda));
}
#endif
