#include "text/spans.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

namespace snakelm::text {
namespace {

constexpr size_t BLOCK = 1024;  // hashes that are made before they are looked for
constexpr int LEAST_BITS = 12, MOST_BITS = 34;

// Bits of a number up to `values`, of the upper ones of a hash.
int bits_for(size_t values) {
  return std::clamp(static_cast<int>(std::bit_width(values)), LEAST_BITS, MOST_BITS);
}

}  // namespace

Spans::Spans(const std::vector<uint64_t>& known, size_t length, std::vector<uint64_t> numbers,
             uint64_t base)
    : length_(length), numbers_(std::move(numbers)), base_(base), power_(1),
      occurred_(known.size(), 0) {
  if (known.size() >= UINT32_MAX) throw std::length_error("4e9 spans or more");
  if (length == 0) throw std::invalid_argument("spans of no tokens");
  for (size_t i = 0; i < length; ++i) power_ *= base;

  bitmap_shift_ = 64 - bits_for(16 * known.size());
  bitmap_.assign(size_t{1} << (58 - bitmap_shift_), 0);
  slot_shift_ = 64 - bits_for(2 * known.size());
  slots_.assign(size_t{1} << (64 - slot_shift_), {0, 0});
  for (size_t i = 0; i < known.size(); ++i) {
    const uint64_t bit = known[i] >> bitmap_shift_;
    bitmap_[bit / 64] |= uint64_t{1} << bit % 64;
    size_t slot = known[i] >> slot_shift_;
    while (slots_[slot].number != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {known[i], static_cast<uint32_t>(i + 1)};
  }
}

void Spans::mark(const uint64_t* hashes, size_t count) {
  uint64_t found[BLOCK];
  size_t passed = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bit = hashes[i] >> bitmap_shift_;
    found[passed] = hashes[i];
    passed += bitmap_[bit / 64] >> bit % 64 & 1;
  }

  for (size_t i = 0; i < passed; ++i) {
    for (size_t slot = found[i] >> slot_shift_; slots_[slot].number != 0;
         slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot].hash != found[i]) continue;
      occurred_[slots_[slot].number - 1] = 1;
      break;
    }
  }
}

template <class Token>
void Spans::look(const Token* tokens, size_t count) {
  if (count < length_) return;
  if (*std::max_element(tokens, tokens + count) >= numbers_.size())
    throw std::out_of_range("a token outside the vocabulary");

  uint64_t hash = 0;
  for (size_t i = 0; i + 1 < length_; ++i) hash = hash * base_ + numbers_[tokens[i]];

  uint64_t hashes[BLOCK];
  for (size_t first = length_ - 1; first < count; first += BLOCK) {
    const size_t made = std::min(BLOCK, count - first);
    for (size_t i = 0; i < made; ++i) {
      const size_t last = first + i;
      hash = hash * base_ + numbers_[tokens[last]];
      if (last >= length_) hash -= power_ * numbers_[tokens[last - length_]];
      hashes[i] = hash;
    }
    mark(hashes, made);
  }
}

template void Spans::look(const uint16_t*, size_t);
template void Spans::look(const uint32_t*, size_t);

}  // namespace snakelm::text
