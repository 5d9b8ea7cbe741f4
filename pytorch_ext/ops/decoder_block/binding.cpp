// torch.ops.pytorch_ext.decoder_block_forward / _backward: a block of a Qwen3-shaped decoder as one
// call, of the operators and products it is made of, in their order and with their bits.
//
//   s1 = x + added               y1 = norm(s1)        q, k, v = y1 Q', y1 K', y1 V'
//   a = attention(turned q, k, v)                     s2 = s1 + a O'      y2 = norm(s2)
//   h = swiglu(y2 G', y2 U')     results: s2, and h D', which the next block adds
//
// Called one by one from Python, each operator costs some 200 us of interpreter, dispatch and
// autograd on the calling thread (their code has left the caches by then), which no second thread
// shares: snakelm/model/fused_block.py.
//
// Legend: N = B T positions, C width of the stream, F hidden size, D size of a head. Products of
// bfloat16 are torch's own, of float32 ours (ops/products): snakelm/model/fused_block.py says where
// each is taken.
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <cmath>
#include <vector>

#include "pytorch_ext/calls.h"

namespace pytorch_ext {
namespace {

constexpr int64_t BEST = -1;
using Tensors = std::vector<Tensor>;

// The block's parameters, in the order of the lists: gains float32, matrices in x's dtype.
struct Parameters {
  Tensor attention_gain, q_gain, k_gain, mlp_gain;
  Tensor q, k, v, o, gate, up, down;

  Parameters(const Tensors& gains, const Tensors& matrices) {
    check(gains.size() == 4 && matrices.size() == 7,
          "decoder_block: four gains and seven matrices expected");
    attention_gain = gains[0], q_gain = gains[1], k_gain = gains[2], mlp_gain = gains[3];
    q = matrices[0], k = matrices[1], v = matrices[2], o = matrices[3];
    gate = matrices[4], up = matrices[5], down = matrices[6];
    for (const Tensor& matrix : matrices)
      check(matrix.dim() == 2 && matrix.is_cpu() && matrix.is_contiguous(),
            "decoder_block: contiguous matrices on the CPU expected");
  }
};

Tensor transposed(const Tensor& matrix) {
  return viewed(matrix, {matrix.size(1), matrix.size(0)}, {matrix.stride(1), matrix.stride(0)});
}

// a [N, R] b [R, C] → [N, C].
Tensor times(const Tensor& a, const Tensor& b) {
  Tensor out = new_dense(a, {a.size(0), b.size(1)});
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(out.get(), a.get(), b.get()));
  return out;
}

// sum += a b, of such matrices.
void add_times(Tensor& sum, const Tensor& a, const Tensor& b) {
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_cpu_addmm_out(sum.get(), sum.get(), a.get(), b.get(), 1.0, 1.0));
}

Tensor plus(const Tensor& a, const Tensor& b) {
  AtenTensorHandle made = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_add_Tensor(a.get(), b.get(), 1.0, &made));
  return Tensor(made);
}

bool is_float32(const Tensor& x) { return x.scalar_type() == ScalarType::Float; }

// x w' of each of the weights [R, C] that read x [N, C] → each [N, R].
Tensors projected(const Tensor& x, const Tensors& weights) {
  Tensors turned, made;
  for (const Tensor& weight : weights) turned.push_back(transposed(weight));
  if (is_float32(x)) return products(Tensors(weights.size(), x), turned, false, BEST);
  for (const Tensor& weight : turned) made.push_back(times(x, weight));
  return made;
}

// The gradient of that x: the sum of g w over the weights, of each the gradient g of x w'.
Tensor pulled_back(const Tensors& grads, const Tensors& weights) {
  if (is_float32(grads[0])) return products(grads, weights, true, BEST)[0];
  Tensor sum = times(grads[0], weights[0]);
  for (size_t i = 1; i < grads.size(); ++i) add_times(sum, grads[i], weights[i]);
  return sum;
}

// The gradients of those weights, float32.
Tensors of_weights(const Tensor& x, const Tensors& grads) {
  if (!is_float32(x)) return weight_gradients(x, grads, BEST);
  Tensors turned;
  for (const Tensor& grad : grads) turned.push_back(transposed(grad));
  return products(turned, Tensors(grads.size(), x), false, BEST);
}

// x [B, T, C] → [N, C], and an [N, H D] → [B, T, H, D] like x.
Tensor flat(Tensor x) {
  if (!x.is_contiguous()) x = torch::stable::contiguous(x);
  return viewed(x, {x.size(0) * x.size(1), x.size(2)});
}
Tensor in_heads(const Tensor& y, const Tensor& x, int64_t head_dim) {
  return viewed(y, {x.size(0), x.size(1), y.size(1) / head_dim, head_dim});
}
Tensor joined(const Tensor& heads) {
  return viewed(heads, {heads.size(0) * heads.size(1), heads.size(2) * heads.size(3)});
}

double scale_of(int64_t head_dim) { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }

// s2 and h D' [B, T, C], s1 [B, T, C], then what only backward reads.
Tensors forward(Tensor x, std::optional<Tensor> added, std::optional<Tensor> row_start, Tensor cos,
                Tensor sin, Tensors gains, Tensors matrices, int64_t head_dim, double eps) {
  check(x.dim() == 3 && head_dim > 0, "decoder_block: x [B, T, C] expected");
  Parameters p(gains, matrices);
  check(p.q.size(0) % head_dim == 0 && p.k.size(0) % head_dim == 0,
        "decoder_block: rows of q, k and v in whole heads expected");

  Tensor s1 = x, y1;
  if (added) {
    std::tie(y1, s1) = add_rms_norm_forward(*added, x, p.attention_gain, eps, BEST);
  } else {
    y1 = rms_norm_forward(x, p.attention_gain, eps, BEST);
  }
  y1 = flat(y1);
  const Tensors qkv = projected(y1, {p.q, p.k, p.v});
  const Tensor q = in_heads(qkv[0], x, head_dim), k = in_heads(qkv[1], x, head_dim),
               v = in_heads(qkv[2], x, head_dim);
  const auto [turned_q, turned_k] =
      qk_norm_rope_forward(q, k, p.q_gain, p.k_gain, cos, sin, eps, BEST);
  const auto [a, log_sum] =
      attention_forward(turned_q, turned_k, v, row_start, scale_of(head_dim), BEST);

  const Tensor more = viewed(projected(joined(a), {p.o})[0], x.sizes());
  auto [y2, s2] = add_rms_norm_forward(more, s1, p.mlp_gain, eps, BEST);
  y2 = flat(y2);
  const Tensors gate_up = projected(y2, {p.gate, p.up});
  const Tensor &gate = gate_up[0], &up = gate_up[1];
  const Tensor h = swiglu_forward(gate, up, BEST);
  const Tensor out = viewed(projected(h, {p.down})[0], x.sizes());
  return {s2, out, s1, y1, q, k, turned_q, turned_k, v, a, log_sum, y2, gate, up, h};
}

// kept: what forward returned, from s1 on, and s2. summed: whether there was something added. → the
// gradient of s1 (so of x and of added), of the gains and of the matrices, those float32.
Tensors backward(Tensor grad_s2, Tensor grad_out, Tensors kept, Tensor s2,
                 std::optional<Tensor> row_start, Tensor cos, Tensor sin, Tensors gains,
                 Tensors matrices, int64_t head_dim, double eps, bool summed) {
  check(kept.size() == 13 && grad_out.dim() == 3, "decoder_block: what forward kept expected");
  Parameters p(gains, matrices);
  const Tensor &s1 = kept[0], &y1 = kept[1], &q = kept[2], &k = kept[3], &turned_q = kept[4],
               &turned_k = kept[5], &v = kept[6], &a = kept[7], &log_sum = kept[8], &y2 = kept[9],
               &gate = kept[10], &up = kept[11], &h = kept[12];

  const Tensor grad_down = flat(grad_out);
  const Tensor of_down = of_weights(h, {grad_down})[0];
  const auto [grad_gate, grad_up] =
      swiglu_backward(pulled_back({grad_down}, {p.down}), gate, up, BEST);
  const Tensor grad_y2 = pulled_back({grad_gate, grad_up}, {p.gate, p.up});
  const Tensors of_mlp = of_weights(y2, {grad_gate, grad_up});
  const auto [grad_sum, of_mlp_gain] =
      rms_norm_backward(viewed(grad_y2, s2.sizes()), grad_s2, s2, p.mlp_gain, eps, BEST);

  const Tensor grad_o = flat(grad_sum);
  const Tensor of_o = of_weights(joined(a), {grad_o})[0];
  const Tensor grad_a = viewed(pulled_back({grad_o}, {p.o}), a.sizes());
  const auto [grad_turned_q, grad_turned_k, grad_v] = attention_backward(
      grad_a, turned_q, turned_k, v, a, log_sum, row_start, scale_of(head_dim), BEST);
  const auto [grad_q, grad_k, of_q_gain, of_k_gain] = qk_norm_rope_backward(
      grad_turned_q, grad_turned_k, q, k, p.q_gain, p.k_gain, cos, sin, eps, BEST);

  const Tensors grads = {joined(grad_q), joined(grad_k), joined(grad_v)};
  const Tensor grad_y1 = pulled_back(grads, {p.q, p.k, p.v});
  const Tensors of_qkv = of_weights(y1, grads);
  // The first block's x goes two ways, which autograd would add after rounding each.
  std::optional<Tensor> sum_here;
  if (summed) sum_here = grad_sum;
  auto [grad_s1, of_attention_gain] =
      rms_norm_backward(viewed(grad_y1, s1.sizes()), sum_here, s1, p.attention_gain, eps, BEST);
  if (!summed) grad_s1 = plus(grad_s1, grad_sum);

  return {grad_s1,   of_attention_gain, of_q_gain, of_k_gain, of_mlp_gain, of_qkv[0],
          of_qkv[1], of_qkv[2],         of_o,      of_mlp[0], of_mlp[1],   of_down};
}

}  // namespace
}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def(
      "decoder_block_forward(Tensor x, Tensor? added, Tensor? row_start, Tensor cos, Tensor sin, "
      "Tensor[] gains, Tensor[] matrices, int head_dim, float eps) -> Tensor[]");
  m.def(
      "decoder_block_backward(Tensor grad_s2, Tensor grad_out, Tensor[] kept, Tensor s2, "
      "Tensor? row_start, Tensor cos, Tensor sin, Tensor[] gains, Tensor[] matrices, int head_dim, "
      "float eps, bool summed) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("decoder_block_forward", TORCH_BOX(&pytorch_ext::forward));
  m.impl("decoder_block_backward", TORCH_BOX(&pytorch_ext::backward));
}
