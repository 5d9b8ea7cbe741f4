// Random problems through the tensor-core kernels, emulated; built with sanitizers.
//
//   fuzz SEED SECONDS
//
// Head dimensions up to 64; with WIDE, which takes longer to compile, all.
//
// Each array lies in a heap block of exactly its size, so one element read or written too far is an
// error. Checked besides: no launch reports anything, what is finite gives finite results, and the
// order of threads changes no bit.
#include <array>
#include <vector>

#include "../fuzz.h"
#include "ops/attention/attention_delta.cuh"
#include "ops/attention/attention_mma_backward.cuh"
#include "ops/attention/attention_mma_forward.cuh"

using namespace snakelm;

namespace {

int64_t draw(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(below(static_cast<size_t>(high - low + 1)));
}

// One [B, T, heads, D] input with gaps between its rows, exactly long enough.
struct Array {
  AttentionView view;
  std::vector<BFloat16> values;

  Array(const AttentionProblem& p, int64_t heads) {
    view.head = p.head_dim + draw(0, 1) * draw(0, 8);
    view.time = heads * view.head;
    view.batch = p.time * view.time;
    values.resize(static_cast<size_t>(p.batch * view.batch - (view.head - p.head_dim)));
    for (BFloat16& x : values) narrow(static_cast<float>(draw(-1000, 1000)) / 500, &x);
    values.shrink_to_fit();
    view.data = values.data();
  }
};

struct Results {
  std::vector<BFloat16> out, grad_q, grad_k, grad_v;
  std::vector<float> log_sum, delta;

  explicit Results(AttentionProblem& p) {
    const auto count = [&](int64_t heads, int64_t size) {
      return static_cast<size_t>(p.batch * p.time * heads * size);
    };
    for (auto* x : {&out, &grad_q}) x->resize(count(p.heads, p.head_dim));
    for (auto* x : {&grad_k, &grad_v}) x->resize(count(p.kv_heads, p.head_dim));
    log_sum.resize(count(p.heads, 2)), delta.resize(count(p.heads, 1));
    p.out = out.data(), p.log_sum = log_sum.data();
    p.grad_q = grad_q.data(), p.grad_k = grad_k.data(), p.grad_v = grad_v.data();
  }

  bool same(const Results& other) const {
    const auto equal = [](const auto& a, const auto& b) {
      return std::memcmp(a.data(), b.data(), a.size() * 2) == 0;
    };
    return equal(out, other.out) && equal(grad_q, other.grad_q) && equal(grad_k, other.grad_k) &&
           equal(grad_v, other.grad_v);
  }

  bool finite() const {
    for (const auto* array : {&out, &grad_q, &grad_k, &grad_v})
      for (const BFloat16 x : *array)
        if (!is_finite(widen(x))) return false;
    return true;
  }
};

template <int D>
Results run(AttentionProblem p, unsigned seed) {
  Results made(p);
  emulation::machine.random.seed(seed);
  const bool failed = forward_mma<BFloat16, D>(p, nullptr) ||
                      compute_delta<BFloat16>(p, made.delta.data(), nullptr) ||
                      backward_mma<BFloat16, D>(p, made.delta.data(), nullptr);
  if (failed) fail(emulation::machine.error.c_str(), "");
  return made;
}

template <int D>
void one_problem() {
  AttentionProblem p;
  p.type = AttentionType::bfloat16;
  p.batch = draw(1, 2), p.time = draw(1, 150), p.kv_heads = draw(1, 2);
  p.heads = p.kv_heads * draw(1, 2), p.head_dim = draw(0, 1) ? draw(1, D / 8) * 8 : draw(1, D);
  p.scale = 0.05f + static_cast<float>(draw(0, 99)) / 100;
  Array q(p, p.heads), k(p, p.kv_heads), v(p, p.kv_heads), grad_out(p, p.heads);
  p.q = q.view, p.k = k.view, p.v = v.view, p.grad_out = grad_out.view;

  std::vector<int32_t> row_start;
  for (int64_t b = 0; b < p.batch; ++b) {  // from below 0 to beyond T
    int32_t start = static_cast<int32_t>(draw(-4, 0));
    for (int64_t t = 0; t < p.time; ++t) {
      if (below(12) == 0) start += static_cast<int32_t>(draw(0, 29));
      row_start.push_back(start);
    }
  }
  row_start.shrink_to_fit();
  if (below(3)) p.row_start = row_start.data();

  const bool poisoned = below(4) == 0;
  if (poisoned) {
    auto& values = std::array{&q, &k, &v, &grad_out}[below(4)]->values;
    narrow(below(2) ? NAN : INFINITY, &values[below(values.size())]);
  }
  const Results made = run<D>(p, 1);
  if (!poisoned && !made.finite()) fail("a finite problem gives NaN", "");
  if (!made.same(run<D>(p, 2))) fail("the order of threads changes bits", "");
}

}  // namespace

int main(int argc, char** argv) {
#if defined(WIDE)
  void (*const problems[])() = {one_problem<32>, one_problem<64>, one_problem<96>,
                                one_problem<128>};
  return run_fuzzer(argc, argv, [&] { problems[below(4)](); });
#else
  return run_fuzzer(argc, argv, one_problem<64>);
#endif
}
