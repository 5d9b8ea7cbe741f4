// The pointwise operators on random sizes, strides, values and instruction sets, in blocks exactly
// as long as their tensors, so that the sanitizer sees what lies beyond; each problem on one thread
// and on three, which must give the same bits.
#include "../fuzz.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "ops/orthogonalize/orthogonalize.h"
#include "ops/qk_norm_rope/qk_norm_rope.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"

namespace {

using namespace snakelm;

using Bytes = std::vector<std::unique_ptr<uint8_t[]>>;

void on_threads(int64_t n, void (*body)(int64_t, void*), void* context) {
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < n; ++i) threads.emplace_back(body, i, context);
  if (n > 0) body(0, context);
  for (std::thread& thread : threads) thread.join();
}

// A run of problems' memory: random inputs, and outputs that two runs of one problem are compared
// by.
class Memory {
 public:
  explicit Memory(Element type) : type(type), size(type == Element::float32 ? 4 : 2) {}

  void* input(int64_t count) { return take(count * size, true); }
  const float* floats(int64_t count) { return static_cast<const float*>(take(count * 4, true)); }
  Rows rows(int64_t rows, int64_t width) {
    const int64_t row = width + static_cast<int64_t>(below(4));
    return {input(rows ? (rows - 1) * row + width : 0), row};
  }

  void* output(int64_t count) { return remember(count * size); }
  float* float_output(int64_t count) { return static_cast<float*>(remember(count * 4)); }

  std::string results() const {
    std::string all;
    for (const auto& [data, bytes] : outputs_) all.append(static_cast<char*>(data), bytes);
    return all;
  }

  const Element type;
  const int64_t size;

 private:
  void* take(int64_t bytes, bool random) {
    blocks_.emplace_back(new uint8_t[bytes]);
    uint8_t* const data = blocks_.back().get();
    const bool any_bits = below(4) == 0;  // NaN, infinity and subnormals among them
    for (int64_t i = 0; random && i < bytes; ++i) {
      data[i] = static_cast<uint8_t>(source());
      if (!any_bits && i % size == size - 1) data[i] = (data[i] & 0x80) | 0x3F;  // near one
    }
    return data;
  }
  void* remember(int64_t bytes) {
    void* const data = take(bytes, false);
    outputs_.emplace_back(data, bytes);
    return data;
  }

  Bytes blocks_;
  std::vector<std::pair<void*, int64_t>> outputs_;
};

template <class Run>
void twice(const char* name, Memory& memory, const Run& run) {
  const int level = static_cast<int>(below(static_cast<size_t>(best_isa()) + 1));
  if (const char* message = run(level, 1)) fail(message, name);
  const std::string once = memory.results();
  if (const char* message = run(level, 3)) fail(message, name);
  if (memory.results() != once) fail("other bits on three threads", name);
}

int64_t some_width() { return static_cast<int64_t>(below(below(4) == 0 ? 300 : 40)); }
int64_t some_rows(int64_t width) {  // now and then enough for more than one thread
  return static_cast<int64_t>(below(below(8) == 0 ? 70000 / (width + 1) + 1 : 50));
}

void swiglu(Memory& memory) {
  SwigluProblem p;
  p.type = memory.type, p.width = some_width(), p.rows = some_rows(p.width);
  p.gate = memory.rows(p.rows, p.width), p.up = memory.rows(p.rows, p.width);
  p.grad_out = memory.rows(p.rows, p.width);
  const int64_t count = p.rows * p.width;
  p.out = memory.output(count);
  p.grad_gate = memory.output(count), p.grad_up = memory.output(count);
  twice("swiglu", memory, [&](int level, int threads) {
    const char* message = swiglu_forward_cpu(p, level, threads, on_threads);
    return message ? message : swiglu_backward_cpu(p, level, threads, on_threads);
  });
}

void rms_norm(Memory& memory) {
  RmsNormProblem p;
  p.type = memory.type, p.width = some_width(), p.rows = some_rows(p.width), p.eps = 1e-6f;
  const int64_t count = p.rows * p.width;
  p.x = memory.rows(p.rows, p.width);
  if (below(2)) p.residual = memory.rows(p.rows, p.width), p.sum = memory.output(count);
  if (below(2)) p.weight = memory.floats(p.width), p.grad_weight = memory.float_output(p.width);
  p.grad_out = memory.rows(p.rows, p.width);
  if (below(2)) p.grad_sum = memory.rows(p.rows, p.width);
  p.out = memory.output(count), p.grad_x = memory.output(count);
  twice("rms_norm", memory, [&](int level, int threads) {
    const char* message = rms_norm_forward_cpu(p, level, threads, on_threads);
    return message ? message : rms_norm_backward_cpu(p, level, threads, on_threads);
  });
}

// Of a RopeProblem or a QkNormRopeProblem.
template <class Problem>
HeadsView some_heads(Memory& memory, const Problem& p, int64_t heads) {
  const int64_t head = p.dim + static_cast<int64_t>(below(3));
  const int64_t time = heads * head + static_cast<int64_t>(below(3)), batch = p.time * time;
  const bool any = p.batch && p.time && heads;
  const int64_t last = (p.batch - 1) * batch + (p.time - 1) * time + (heads - 1) * head + p.dim;
  return {memory.input(any ? last : 0), batch, time, head};
}

template <class Problem>
void fill_in_sizes_and_angles(Memory& memory, Problem& p) {
  const int64_t usual[] = {64, 128};
  p.dim = below(2) ? usual[below(2)] : 2 * static_cast<int64_t>(below(40));
  p.type = memory.type, p.batch = static_cast<int64_t>(below(3)), p.time = some_rows(4 * p.dim);
  p.angles.by_row = below(2);
  const int64_t count = (p.angles.by_row ? p.batch : 1) * p.time * p.dim / 2;
  p.angles.cos = memory.floats(count), p.angles.sin = memory.floats(count);
}

void rope(Memory& memory) {
  RopeProblem p;
  fill_in_sizes_and_angles(memory, p);
  p.heads = static_cast<int64_t>(below(4)), p.back = below(2);
  p.x = some_heads(memory, p, p.heads);
  p.out = memory.output(p.batch * p.time * p.heads * p.dim);
  twice("rope", memory,
        [&](int level, int threads) { return rope_cpu(p, level, threads, on_threads); });
}

void qk_norm_rope(Memory& memory) {
  QkNormRopeProblem p;
  fill_in_sizes_and_angles(memory, p);
  p.eps = 1e-6f;
  for (ProjectedHeads& part : p.parts) {
    part.heads = static_cast<int64_t>(below(4));
    part.x = some_heads(memory, p, part.heads), part.grad_out = some_heads(memory, p, part.heads);
    part.weight = memory.floats(p.dim), part.grad_weight = memory.float_output(p.dim);
    const int64_t count = p.batch * p.time * part.heads * p.dim;
    part.out = memory.output(count), part.grad_x = memory.output(count);
  }
  twice("qk_norm_rope", memory, [&](int level, int threads) {
    const char* message = qk_norm_rope_forward_cpu(p, level, threads, on_threads);
    return message ? message : qk_norm_rope_backward_cpu(p, level, threads, on_threads);
  });
}

void orthogonalize(Memory& memory) {
  if (memory.type != Element::bfloat16) return;
  const Quintic steps[] = {{7.9f, -22.3f, 15.8f}, {3.6f, -2.6f, 0.5f}};
  OrthogonalizeProblem p;
  p.rows = some_width() / 4, p.columns = some_width() / 4;
  p.matrices = static_cast<int64_t>(below(4));
  p.steps = steps, p.step_count = 1 + static_cast<int64_t>(below(2));
  p.x = memory.input(p.matrices * p.rows * p.columns);
  p.out = memory.output(p.matrices * p.rows * p.columns);
  twice("orthogonalize", memory,
        [&](int level, int threads) { return orthogonalize_cpu(p, level, threads, on_threads); });
}

void some_problem() {
  Memory memory(below(2) ? Element::float32 : Element::bfloat16);
  switch (below(5)) {
    case 0: return swiglu(memory);
    case 1: return rms_norm(memory);
    case 2: return rope(memory);
    case 3: return orthogonalize(memory);
    default: return qk_norm_rope(memory);
  }
}

}  // namespace

int main(int argc, char** argv) { return run_fuzzer(argc, argv, some_problem); }
