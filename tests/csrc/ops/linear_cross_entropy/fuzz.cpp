// Random problems through linear cross-entropy's passes, every instruction set that is linked;
// built with sanitizers by ../../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each array lies in a heap block of exactly its size. Checked besides: what is not asked for is
// not written, three threads give the bits of one, and losses of ordinary numbers are those of a
// double loop.
#include "../../fuzz.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

#include "ops/linear_cross_entropy/linear_cross_entropy.h"

namespace {

using namespace snakelm;

void on_threads(int64_t n, void (*body)(int64_t, void*), void* context) {
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < n; ++i) threads.emplace_back(body, i, context);
  if (n > 0) body(0, context);
  for (std::thread& thread : threads) thread.join();
}

int64_t some(size_t most) { return static_cast<int64_t>(below(most)); }

// Rows with gaps between them, in a block exactly long enough.
struct Matrix {
  Matrix(int64_t rows, int64_t width, bool half, bool any_bits)
      : half(half), row(width + some(3)), size(half ? 2 : 4),
        bytes(rows ? ((rows - 1) * row + width) * size : 0) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(source());
      const bool top = static_cast<int64_t>(i) % size == size - 1;
      if (!any_bits && top) bytes[i] = (bytes[i] & 0x80) | 0x3E;  // size near a quarter
    }
    bytes.shrink_to_fit();
  }
  Rows rows() const { return {bytes.data(), row}; }
  double at(int64_t i, int64_t j) const {
    uint32_t word = 0;
    std::memcpy(half ? reinterpret_cast<uint8_t*>(&word) + 2 : reinterpret_cast<uint8_t*>(&word),
                bytes.data() + (i * row + j) * size, size);
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
  }

  bool half;
  int64_t row, size;
  std::vector<uint8_t> bytes;
};

double loss_of(const LinearCrossEntropyProblem& p, const Matrix& x, const Matrix& weight,
               int64_t i) {
  double sum = 0, own = 0;
  for (int64_t v = 0; v < p.vocabulary; ++v) {
    double logit = 0;
    for (int64_t c = 0; c < p.width; ++c) logit += x.at(i, c) * weight.at(v, c);
    if (p.softcap != 0) logit = p.softcap * std::tanh(logit / p.softcap);
    if (v == p.target[i]) own = logit;
    sum += std::exp(logit);
  }
  return std::log(sum) - own + p.z_loss * std::log(sum) * std::log(sum);
}

void some_problem() {
  const bool half = below(2), any_bits = below(4) == 0;
  const int64_t rows = some(below(6) ? 40 : 300);
  LinearCrossEntropyProblem p;
  p.width = some(below(6) ? 40 : 150), p.vocabulary = 1 + some(below(4) ? 100 : 500);
  p.type = half ? Element::bfloat16 : Element::float32;
  const bool half_weight = half && below(2);
  p.weight_type = half_weight ? Element::bfloat16 : Element::float32;
  if (below(3) == 0) p.softcap = 2.0f;
  if (below(3) == 0) p.z_loss = 0.01f;

  const Matrix x(rows, p.width, half, any_bits);
  const Matrix weight(p.vocabulary, p.width, half_weight, any_bits);
  p.x = x.rows(), p.weight = weight.rows();
  std::vector<int64_t> target, kept;
  for (int64_t i = 0; i < rows; ++i) {
    target.push_back(below(4) ? some(p.vocabulary) : -100);
    if (target.back() >= 0) kept.push_back(i);
  }
  p.rows = static_cast<int64_t>(kept.size()), p.kept = kept.data(), p.target = target.data();

  std::vector<float> loss(kept.size());
  std::vector<RowTerms> terms(kept.size());
  std::vector<uint8_t> grad_x(rows * p.width * x.size, 0xA5),
      grad_w(p.vocabulary * p.width * weight.size);
  p.loss = loss.data(), p.terms = terms.data(), p.grad_weight = grad_w.data();
  p.grad_x = below(4) ? grad_x.data() : nullptr;

  const int level = static_cast<int>(below(static_cast<size_t>(best_isa()) + 1));
  const bool both = !half && p.grad_x && below(2);
  std::string once;
  for (const int threads : {1, 3}) {
    const char* message = nullptr;
    if (both) {
      message = linear_cross_entropy_both_cpu(p, level, threads, on_threads);
    } else {
      message = linear_cross_entropy_rows_cpu(p, level, threads, on_threads);
      if (!message) message = linear_cross_entropy_vocabulary_cpu(p, level, threads, on_threads);
    }
    if (message) fail(message, "linear_cross_entropy");
    std::string all(reinterpret_cast<char*>(loss.data()), loss.size() * sizeof(float));
    all.append(grad_x.begin(), grad_x.end()).append(grad_w.begin(), grad_w.end());
    if (threads > 1 && all != once) fail("other bits on three threads", "linear_cross_entropy");
    once = all;
  }

  for (int64_t i = 0; i < rows; ++i) {  // of ignored rows nothing is written
    const bool untouched = !p.grad_x || target[i] < 0;
    const uint8_t* const own = grad_x.data() + i * p.width * x.size;
    if (untouched && std::any_of(own, own + p.width * x.size, [](int b) { return b != 0xA5; }))
      fail("an ignored row was written", "linear_cross_entropy");
  }
  if (any_bits || half || kept.empty()) return;  // float32 alone: nothing is cast
  const double expected = loss_of(p, x, weight, kept[0]);
  if (!(std::fabs(loss[0] - expected) <= 1e-3 * (1 + std::fabs(expected))))
    fail("another loss than a double loop's", "linear_cross_entropy");
}

}  // namespace

int main(int argc, char** argv) { return run_fuzzer(argc, argv, some_problem); }
