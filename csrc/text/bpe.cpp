#include "text/bpe.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <stdexcept>

#include "common/parallel.h"

namespace snakelm::text {
namespace {

// Below this many bytes a rescan of the parts per merge is faster than a heap.
constexpr size_t SHORT_PIECE = 64;

}  // namespace

Encoder::Encoder(const std::vector<std::string_view>& tokens, Pattern pattern)
    : vocabulary_(tokens), pattern_(pattern), byte_pairs_(new uint32_t[65536]) {
  for (uint32_t pair = 0; pair < 65536; ++pair) {
    const uint8_t bytes[2] = {static_cast<uint8_t>(pair >> 8), static_cast<uint8_t>(pair)};
    byte_pairs_[pair] = vocabulary_.find(bytes, 2);
  }
}

uint32_t Encoder::rank(Bytes from, Bytes to, uint32_t limit) const {
  const size_t length = static_cast<size_t>(to - from);
  const uint32_t id =
      length == 2 ? byte_pairs_[from[0] << 8 | from[1]] : vocabulary_.find(from, length);
  return id < limit ? id : NO_TOKEN;
}

void Encoder::merge_short(View piece, uint32_t limit, std::vector<Scratch::Part>& parts) const {
  const auto length = static_cast<uint32_t>(piece.length);
  parts.clear();
  for (uint32_t i = 0; i < length; ++i) {
    parts.push_back(
        {i, i + 1 < length ? rank(piece.data + i, piece.data + i + 2, limit) : NO_TOKEN});
  }
  parts.push_back({length, NO_TOKEN});

  // Rank of part i with the next one; the last entry of `parts` is the end of the piece.
  const auto joined = [&](size_t i) {
    if (i + 2 >= parts.size()) return NO_TOKEN;
    return rank(piece.data + parts[i].start, piece.data + parts[i + 2].start, limit);
  };

  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < parts.size(); ++i) {
      if (parts[i].rank < parts[best].rank) best = i;
    }
    if (parts[best].rank == NO_TOKEN) return;
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
    parts[best].rank = joined(best);
    if (best > 0) parts[best - 1].rank = joined(best - 1);
  }
}

void Encoder::merge_long(View piece, uint32_t limit, Scratch& scratch) const {
  if (piece.length >= NO_TOKEN)
    throw std::length_error("a piece of 4 GiB or more cannot be encoded");
  const auto n = static_cast<uint32_t>(piece.length);
  auto& parts = scratch.parts;
  auto& heap = scratch.heap;
  auto& previous = scratch.previous;
  auto& next = scratch.next;
  parts.resize(n + 1), previous.resize(n + 1), next.resize(n + 1);

  heap.clear();
  for (uint32_t i = 0; i <= n; ++i) {
    parts[i] = {i, i + 1 < n ? rank(piece.data + i, piece.data + i + 2, limit) : NO_TOKEN};
    previous[i] = i - 1, next[i] = i + 1;
    if (parts[i].rank != NO_TOKEN) heap.push_back(static_cast<uint64_t>(parts[i].rank) << 32 | i);
  }

  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto rejoin = [&](uint32_t i) {
    const uint32_t middle = next[i];
    parts[i].rank = middle < n ? rank(piece.data + i, piece.data + next[middle], limit) : NO_TOKEN;
    if (parts[i].rank == NO_TOKEN) return;
    heap.push_back(static_cast<uint64_t>(parts[i].rank) << 32 | i);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto i = static_cast<uint32_t>(heap.back());
    const auto wanted = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (parts[i].rank != wanted)
      continue;  // part i has merged since; equal rank and start mean equal bytes
    const uint32_t gone = next[i];
    parts[gone].rank = NO_TOKEN;
    next[i] = next[gone];
    previous[next[gone]] = i;
    rejoin(i);
    if (i > 0) rejoin(previous[i]);
  }
}

void Encoder::encode_long(View piece, Scratch& scratch, Ids& out) const {
  merge_long(piece, NO_TOKEN, scratch);
  for (uint32_t i = 0; i < piece.length; i = scratch.next[i])
    out.push_back(vocabulary_.find(piece.data + i, scratch.next[i] - i));

  // One huge piece must not hold its working memory for the rest of the batch.
  if (piece.length > (1u << 20)) scratch = Scratch{};
}

template <class Split>
void Encoder::encode_as(View text, Scratch& scratch, Ids& out) const {
  each_piece<Split>(text.data, text.length, [&](Bytes p, size_t length) {
    if (const uint32_t id = vocabulary_.find(p, length); id != NO_TOKEN) return out.push_back(id);
    if (length > SHORT_PIECE) return encode_long({p, length}, scratch, out);
    merge_short({p, length}, NO_TOKEN, scratch.parts);
    const auto& parts = scratch.parts;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      out.push_back(vocabulary_.find(p + parts[i].start, parts[i + 1].start - parts[i].start));
    }
  });
}

void Encoder::encode(View text, Scratch& scratch, Ids& out) const {
  with_scanner(pattern_, [&]<class Split>(Split) { encode_as<Split>(text, scratch, out); });
}

size_t Encoder::first_of_two(View token, uint32_t limit, Scratch& scratch) const {
  if (token.length > SHORT_PIECE) {
    merge_long(token, limit, scratch);
    const uint32_t first = scratch.next[0];
    return first < token.length && scratch.next[first] == token.length ? first : 0;
  }
  merge_short(token, limit, scratch.parts);
  return scratch.parts.size() == 3 ? scratch.parts[1].start : 0;
}

std::vector<std::pair<uint32_t, uint32_t>> Encoder::merges() const {
  std::vector<std::pair<uint32_t, uint32_t>> result(vocabulary_.size(), {NO_TOKEN, NO_TOKEN});
  Scratch scratch;
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.size() < 2) continue;
    const Bytes p = reinterpret_cast<Bytes>(token.data());
    const size_t first = first_of_two({p, token.size()}, id, scratch);
    if (first)
      result[id] = {vocabulary_.find(p, first), vocabulary_.find(p + first, token.size() - first)};
  }
  return result;
}

Encoder::Lent::Lent(const Encoder& encoder) : encoder_(encoder) {
  const std::lock_guard<std::mutex> guard(encoder.lock_);
  if (encoder.idle_.empty()) {
    scratch_ = std::make_unique<Scratch>();
  } else {
    scratch_ = std::move(encoder.idle_.back());
    encoder.idle_.pop_back();
  }
}

Encoder::Lent::~Lent() {
  const std::lock_guard<std::mutex> guard(encoder_.lock_);
  encoder_.idle_.push_back(std::move(scratch_));
}

Batch encode_batch(const Encoder& encoder, const std::vector<View>& texts, int threads) {
  const std::vector<size_t> bounds = chunk_bounds(texts);
  Batch batch;
  batch.chunks.resize(bounds.size() - 1);
  batch.lengths.resize(texts.size());

  std::deque<Encoder::Lent> scratch;  // stays where it is: a Lent does not move
  for (size_t i = 0; i < threads_for(bounds.size() - 1, threads); ++i)
    scratch.emplace_back(encoder);
  for_each_item(bounds.size() - 1, threads, [&](size_t chunk, size_t thread) {
    Ids& ids = batch.chunks[chunk];
    for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i) {
      const size_t before = ids.size();
      encoder.encode(texts[i], *scratch[thread], ids);
      batch.lengths[i] = static_cast<int64_t>(ids.size() - before);
    }
  });
  return batch;
}

}  // namespace snakelm::text
