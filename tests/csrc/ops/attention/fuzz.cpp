// Random problems through the attention kernels of every instruction set that is linked; built with
// sanitizers by ../../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each array lies in a heap block of exactly its size, so one element read too far is an error.
// Checked besides: a moderate problem gives softmax's values, a query that sees nothing broken and
// whose scores fit a float is finite whatever the magnitudes, and how the work is cut changes no
// bit. Exit status 1 and a line on stderr where one does not hold.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../../fuzz.h"
#include "ops/attention/attention.h"

using namespace snakelm;

namespace {

void sequential(int64_t n, void (*body)(int64_t, void*), void* context) {
  for (int64_t i = 0; i < n; ++i) body(i, context);
}

float uniform() { return static_cast<float>(below(2001)) / 1000.0f - 1.0f; }

// bfloat16 by truncation: the values are random anyway.
uint16_t narrow(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return static_cast<uint16_t>(word >> 16);
}
float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

// One [B, T, heads, D] input with gaps between its rows, exactly long enough.
struct Array {
  AttentionView view;
  std::vector<float> floats;
  std::vector<uint16_t> halves;
  bool half;

  Array(int64_t batch, int64_t time, int64_t heads, int64_t dim, bool half, float magnitude)
      : half(half) {
    view.head = dim + static_cast<int64_t>(below(3));
    view.time = heads * view.head;
    view.batch = time * view.time;
    const size_t count =
        batch && time ? static_cast<size_t>(batch * view.batch - (view.head - dim)) : 0;
    for (size_t i = 0; i < count; ++i) {
      const float x = uniform() * magnitude;
      if (half)
        halves.push_back(narrow(x));
      else
        floats.push_back(x);
    }
    halves.shrink_to_fit(), floats.shrink_to_fit();
    view.data = half ? static_cast<const void*>(halves.data()) : floats.data();
  }

  float at(int64_t b, int64_t t, int64_t h, int64_t d) const {
    const size_t i = static_cast<size_t>(b * view.batch + t * view.time + h * view.head + d);
    return half ? widen(halves[i]) : floats[i];
  }

  void poison() {
    const float bad =
        below(2) ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    if (half && !halves.empty()) halves[below(halves.size())] = narrow(bad);
    if (!half && !floats.empty()) floats[below(floats.size())] = bad;
  }
};

struct Results {
  std::vector<uint8_t> out, grad_q, grad_k, grad_v;
  std::vector<float> log_sum;

  bool operator==(const Results& other) const {
    return out == other.out && grad_q == other.grad_q && grad_k == other.grad_k &&
           grad_v == other.grad_v;
  }
};

Results run(AttentionProblem problem, int level, int threads) {
  const size_t size = problem.type == AttentionType::float32 ? 4 : 2;
  const auto bytes = [&](int64_t heads) {
    return std::vector<uint8_t>(
        static_cast<size_t>(problem.batch * problem.time * heads * problem.head_dim) * size);
  };
  Results made{
      bytes(problem.heads), bytes(problem.heads), bytes(problem.kv_heads), bytes(problem.kv_heads),
      std::vector<float>(static_cast<size_t>(2 * problem.batch * problem.heads * problem.time))};
  problem.out = made.out.data(), problem.log_sum = made.log_sum.data();
  problem.grad_q = made.grad_q.data();
  problem.grad_k = made.grad_k.data(), problem.grad_v = made.grad_v.data();

  const char* message = attention_forward_cpu(problem, level, threads, sequential);
  if (!message) message = attention_backward_cpu(problem, level, threads, sequential);
  if (message) fail(message, "");
  return made;
}

struct Trial {
  AttentionProblem problem;
  bool half;
  float magnitude;
  Array q, k, v, grad_out;
  std::vector<int32_t> row_start;

  static AttentionProblem sizes() {
    AttentionProblem p;
    p.batch = static_cast<int64_t>(below(3)), p.time = static_cast<int64_t>(below(150));
    p.kv_heads = 1 + static_cast<int64_t>(below(2));
    p.heads = p.kv_heads * (1 + static_cast<int64_t>(below(3)));
    p.head_dim = 1 + static_cast<int64_t>(below(40));
    p.scale = 0.05f + static_cast<float>(below(100)) / 100.0f;
    return p;
  }

  Trial()
      : problem(sizes()), half(below(2)), magnitude(std::pow(10.0f, float(below(17)))),
        q(problem.batch, problem.time, problem.heads, problem.head_dim, half, magnitude),
        k(problem.batch, problem.time, problem.kv_heads, problem.head_dim, half, magnitude),
        v(problem.batch, problem.time, problem.kv_heads, problem.head_dim, half, 1),
        grad_out(problem.batch, problem.time, problem.heads, problem.head_dim, half, 1) {
    problem.type = half ? AttentionType::bfloat16 : AttentionType::float32;
    problem.q = q.view, problem.k = k.view, problem.v = v.view, problem.grad_out = grad_out.view;
    if (below(3) == 0) return;
    for (int64_t b = 0; b < problem.batch; ++b) {  // from below 0 to beyond T
      int32_t start = -static_cast<int32_t>(below(4));
      for (int64_t t = 0; t < problem.time; ++t) {
        if (below(12) == 0) start += static_cast<int32_t>(below(30));
        row_start.push_back(start);
      }
    }
    row_start.shrink_to_fit();
    problem.row_start = row_start.data();
  }

  int64_t start(int64_t b, int64_t t) const {
    if (row_start.empty()) return 0;
    const int64_t start = row_start[static_cast<size_t>(b * problem.time + t)];
    return std::clamp<int64_t>(start, 0, t);
  }

  float out_at(const Results& made, int64_t b, int64_t t, int64_t h, int64_t d) const {
    const size_t i =
        static_cast<size_t>(((b * problem.time + t) * problem.heads + h) * problem.head_dim + d);
    float x = 0;
    if (half) {
      uint16_t bits;
      std::memcpy(&bits, &made.out[i * 2], 2);
      return widen(bits);
    }
    std::memcpy(&x, &made.out[i * 4], 4);
    return x;
  }

  // One row by the definition, in double; only where magnitudes leave scores their digits.
  void check_row(const Results& made, int64_t b, int64_t t, int64_t h) const {
    const int64_t kv = h / (problem.heads / problem.kv_heads);
    std::vector<double> weight;
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = start(b, t); j <= t; ++j) {
      double s = 0;
      for (int64_t d = 0; d < problem.head_dim; ++d)
        s += double(q.at(b, t, h, d)) * double(k.at(b, j, kv, d));
      weight.push_back(s * double(problem.scale));
      top = std::max(top, weight.back());
    }
    for (double& w : weight) sum += (w = std::exp(w - top));

    for (int64_t d = 0; d < problem.head_dim; ++d) {
      double expected = 0;
      for (size_t j = 0; j < weight.size(); ++j)
        expected += weight[j] / sum * double(v.at(b, start(b, t) + static_cast<int64_t>(j), kv, d));
      const double found = double(out_at(made, b, t, h, d));
      if (!(std::abs(found) < 1.1)) fail("a finite problem gives NaN or too much", "");
      if (magnitude <= 10 && !(std::abs(found - expected) < (half ? 0.1 : 1e-3)))
        fail("the values are not softmax's", "");
    }
  }
};

void one_problem() {
  Trial trial;
  const bool poisoned = below(4) == 0;
  if (poisoned) {
    Array* const arrays[] = {&trial.q, &trial.k, &trial.v, &trial.grad_out};
    arrays[below(4)]->poison();
  }

  for (int level = 0; level < ISA_COUNT; ++level) {
    if (!isa_runs_here(static_cast<Isa>(level))) break;
    const Results made = run(trial.problem, level, 1);
    if (!(made == run(trial.problem, level, 3))) fail("the cut changes bits", "");
    if (poisoned || trial.problem.batch == 0 || trial.problem.time == 0) continue;
    for (int i = 0; i < 4; ++i) {
      trial.check_row(made, static_cast<int64_t>(below(static_cast<size_t>(trial.problem.batch))),
                      static_cast<int64_t>(below(static_cast<size_t>(trial.problem.time))),
                      static_cast<int64_t>(below(static_cast<size_t>(trial.problem.heads))));
    }
  }
}

}  // namespace

int main(int argc, char** argv) { return run_fuzzer(argc, argv, one_problem); }
