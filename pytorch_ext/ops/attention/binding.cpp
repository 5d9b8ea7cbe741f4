// torch.ops.pytorch_ext.attention_forward / attention_backward: tensors to pointers, through
// torch's stable ABI.
//
// The kernels believe what they are given, so every argument is checked here, whoever calls:
// device, dtype, shape, and that there is memory behind it. Python (pytorch_ext/ops/attention)
// checks the same again where its error can say more.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "ops/attention/attention.h"
#include "pytorch_ext/calls.h"

namespace {

using snakelm::AttentionProblem;
using snakelm::AttentionType;
using snakelm::AttentionView;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Sizes = std::initializer_list<int64_t>;

[[noreturn]] void refuse(const std::string& message) {
  throw std::runtime_error("pytorch_ext.attention: " + message);
}

void check(bool holds, const std::string& message) {
  if (!holds) refuse(message);
}

const char* name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Half: return "float16";
    case ScalarType::Double: return "float64";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    default: return "another dtype";
  }
}

std::string text_of(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", number);
  return text;
}

template <class Range>
std::string text_of(const Range& sizes) {
  std::string text = "[";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string text_of(const Tensor& tensor) {
  return std::string(name_of(tensor.scalar_type())) + " " + text_of(tensor.sizes());
}

AttentionType type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return AttentionType::float32;
    case ScalarType::BFloat16: return AttentionType::bfloat16;
    case ScalarType::Half: return AttentionType::float16;
    default: refuse("q is " + text_of(tensor) + "; float32, bfloat16 or float16 expected");
  }
}

// Where q is, of one dtype and shape, and with memory: a storage may have been emptied.
void check_tensor(const char* name, const Tensor& tensor, const Tensor& q, ScalarType type,
                  Sizes sizes) {
  check(tensor.defined(), std::string(name) + " is missing");
  check(tensor.is_cpu() == q.is_cpu() && tensor.get_device_index() == q.get_device_index(),
        std::string(name) + " is on another device than q");
  const auto found = tensor.sizes();
  const bool fits = tensor.scalar_type() == type &&
                    std::equal(found.begin(), found.end(), sizes.begin(), sizes.end());
  check(fits, std::string(name) + " is " + text_of(tensor) + "; " + name_of(type) + " " +
                  text_of(sizes) + " expected");
  check(tensor.numel() == 0 || tensor.const_data_ptr(), std::string(name) + " has no memory");
}

// Any strides will do as long as the head dimension is dense.
Tensor with_dense_rows(const Tensor& tensor) {
  return tensor.stride(3) == 1 ? tensor : torch::stable::contiguous(tensor);
}

AttentionView view_of(const Tensor& tensor) {
  return {tensor.const_data_ptr(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

// The inputs of forward and backward, checked and laid out as kernels read them. Keeps alive what
// `problem` points into.
struct Inputs {
  Tensor q, k, v;
  std::optional<Tensor> row_start;
  AttentionProblem problem;

  Inputs(const Tensor& q_given, const Tensor& k_given, const Tensor& v_given,
         const std::optional<Tensor>& row_start_given, double scale) {
    check_sizes(q_given, k_given);
    const ScalarType type = q_given.scalar_type();
    const Sizes keys = {problem.batch, problem.time, problem.kv_heads, problem.head_dim};
    problem.type = type_of(q_given);
    check_tensor("q", q_given, q_given, type,
                 {problem.batch, problem.time, problem.heads, problem.head_dim});
    check_tensor("k", k_given, q_given, type, keys);
    check_tensor("v", v_given, q_given, type, keys);
    q = with_dense_rows(q_given), k = with_dense_rows(k_given), v = with_dense_rows(v_given);
    problem.q = view_of(q), problem.k = view_of(k), problem.v = view_of(v);

    if (row_start_given) {
      check_tensor("row_start", *row_start_given, q_given, ScalarType::Int,
                   {problem.batch, problem.time});
      row_start = torch::stable::contiguous(*row_start_given);
      problem.row_start = static_cast<const int32_t*>(row_start->const_data_ptr());
    }

    // Between them scale * log2(e) is a normal float.
    check(scale >= LEAST_SCALE && scale <= LARGEST_SCALE,
          "scale is " + text_of(scale) + "; a number from 1e-37 to 1e38 expected");
    problem.scale = static_cast<float>(scale);
  }

 private:
  static constexpr double LEAST_SCALE = 1e-37, LARGEST_SCALE = 1e38;

  void check_sizes(const Tensor& q_given, const Tensor& k_given) {
    check(q_given.defined() && k_given.defined(), "q or k is missing");
    check(q_given.dim() == 4, "q is " + text_of(q_given) + "; [B, T, H, D] expected");
    check(k_given.dim() == 4, "k is " + text_of(k_given) + "; [B, T, Hkv, D] expected");
    problem.batch = q_given.size(0), problem.time = q_given.size(1);
    problem.heads = q_given.size(2), problem.head_dim = q_given.size(3);
    problem.kv_heads = k_given.size(2);
    check(problem.heads > 0 && problem.head_dim > 0,
          "q is " + text_of(q_given) + "; H and D of at least 1 expected");
    check(problem.kv_heads > 0 && problem.heads % problem.kv_heads == 0,
          "q has " + std::to_string(problem.heads) + " heads, k " +
              std::to_string(problem.kv_heads) + "; a whole multiple expected");
    check(problem.time <= std::numeric_limits<int32_t>::max(),
          "q is " + text_of(q_given) + "; T below 2^31 expected");
  }
};

void parallel(int64_t n, void (*body)(int64_t, void*), void* context) {
  torch::stable::parallel_for(0, n, 1, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i, context);
  });
}

void raise_if(const char* message) {
  if (message) throw std::runtime_error(std::string("pytorch_ext.attention: ") + message);
}

std::tuple<Tensor, Tensor> outputs(const Tensor& q, AttentionProblem& problem) {
  Tensor out =
      pytorch_ext::new_dense(q, {problem.batch, problem.time, problem.heads, problem.head_dim});
  Tensor log_sum =
      pytorch_ext::new_dense(q, {problem.batch, problem.heads, 2, problem.time}, ScalarType::Float);
  problem.out = out.mutable_data_ptr();
  problem.log_sum = static_cast<float*>(log_sum.mutable_data_ptr());
  return {out, log_sum};
}

// The level as the kernels take it; too large a number is none, and not what is left of it.
int level_of(int64_t level) {
  check(level >= -1 && level < snakelm::ISA_COUNT,
        "level is " + std::to_string(level) + "; -1 to " + std::to_string(snakelm::ISA_COUNT - 1) +
            " expected");
  return static_cast<int>(level);
}

void check_cpu(const AttentionProblem& problem) {
  check(problem.type != AttentionType::float16,
        "q is float16; the CPU kernels take float32 and bfloat16");
}

std::tuple<Tensor, Tensor> forward_cpu(Tensor q, Tensor k, Tensor v,
                                       std::optional<Tensor> row_start, double scale,
                                       int64_t level) {
  Inputs inputs(q, k, v, row_start, scale);
  check_cpu(inputs.problem);
  const int isa = level_of(level), threads = static_cast<int>(torch::stable::get_num_threads());
  auto made = outputs(q, inputs.problem);
  raise_if(snakelm::attention_forward_cpu(inputs.problem, isa, threads, parallel));
  return made;
}

// What backward reads besides, and what it makes.
struct Gradients {
  Tensor grad_out, out, log_sum, q, k, v;

  Gradients(Inputs& inputs, const Tensor& grad_out_given, const Tensor& out_given,
            const Tensor& log_sum_given) {
    AttentionProblem& problem = inputs.problem;
    const int64_t b = problem.batch, t = problem.time, h = problem.heads, d = problem.head_dim;
    const ScalarType type = inputs.q.scalar_type();
    check_tensor("grad_out", grad_out_given, inputs.q, type, {b, t, h, d});
    check_tensor("out", out_given, inputs.q, type, {b, t, h, d});
    check_tensor("log_sum", log_sum_given, inputs.q, ScalarType::Float, {b, h, 2, t});
    grad_out = with_dense_rows(grad_out_given);
    out = torch::stable::contiguous(out_given), log_sum = torch::stable::contiguous(log_sum_given);
    problem.grad_out = view_of(grad_out);
    problem.out = out.data_ptr();
    problem.log_sum = static_cast<float*>(log_sum.data_ptr());

    q = pytorch_ext::new_dense(inputs.q, {b, t, h, d});
    k = pytorch_ext::new_dense(inputs.q, {b, t, problem.kv_heads, d});
    v = pytorch_ext::new_dense(inputs.q, {b, t, problem.kv_heads, d});
    problem.grad_q = q.mutable_data_ptr();
    problem.grad_k = k.mutable_data_ptr();
    problem.grad_v = v.mutable_data_ptr();
  }
};

std::tuple<Tensor, Tensor, Tensor> backward_cpu(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                Tensor out, Tensor log_sum,
                                                std::optional<Tensor> row_start, double scale,
                                                int64_t level) {
  Inputs inputs(q, k, v, row_start, scale);
  check_cpu(inputs.problem);
  const int isa = level_of(level), threads = static_cast<int>(torch::stable::get_num_threads());
  const Gradients made(inputs, grad_out, out, log_sum);
  raise_if(snakelm::attention_backward_cpu(inputs.problem, isa, threads, parallel));
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

// The launchers' limits: registers for the sums of a row, and the grid's y and z.
void check_cuda(const AttentionProblem& problem) {
  check(problem.head_dim <= 128,
        "D is " + std::to_string(problem.head_dim) + "; the CUDA kernels take up to 128");
  check(problem.batch <= 65535 && problem.heads <= 65535,
        "B is " + std::to_string(problem.batch) + ", H " + std::to_string(problem.heads) +
            "; the CUDA kernels take up to 65535");
}

std::tuple<Tensor, Tensor> forward_cuda(Tensor q, Tensor k, Tensor v,
                                        std::optional<Tensor> row_start, double scale, int64_t) {
  check(q.is_cuda(), "q is on the CPU, another argument is not");
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  Inputs inputs(q, k, v, row_start, scale);
  check_cuda(inputs.problem);
  auto made = outputs(q, inputs.problem);
  raise_if_cuda(snakelm_attention_forward_cuda(&inputs.problem, current_stream(q)));
  return made;
}

std::tuple<Tensor, Tensor, Tensor> backward_cuda(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                 Tensor out, Tensor log_sum,
                                                 std::optional<Tensor> row_start, double scale,
                                                 int64_t) {
  check(q.is_cuda(), "q is on the CPU, another argument is not");
  const torch::stable::accelerator::DeviceGuard guard(q.get_device_index());
  Inputs inputs(q, k, v, row_start, scale);
  check_cuda(inputs.problem);
  const Gradients made(inputs, grad_out, out, log_sum);
  const Tensor delta = pytorch_ext::new_dense(
      made.log_sum, {inputs.problem.batch, inputs.problem.heads, inputs.problem.time});
  float* const workspace = static_cast<float*>(delta.mutable_data_ptr());
  if (delta.numel())
    raise_if_cuda(snakelm_attention_backward_cuda(&inputs.problem, workspace, current_stream(q)));
  return {made.q, made.k, made.v};
}
#endif

}  // namespace

namespace pytorch_ext {

std::tuple<Tensor, Tensor> attention_forward(Tensor q, Tensor k, Tensor v,
                                             std::optional<Tensor> row_start, double scale,
                                             int64_t level) {
  return forward_cpu(q, k, v, row_start, scale, level);
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                      Tensor out, Tensor log_sum,
                                                      std::optional<Tensor> row_start, double scale,
                                                      int64_t level) {
  return backward_cpu(grad_out, q, k, v, out, log_sum, row_start, scale, level);
}

}  // namespace pytorch_ext

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
