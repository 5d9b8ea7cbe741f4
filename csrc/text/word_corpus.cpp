#include "text/word_corpus.h"

#include <algorithm>
#include <stdexcept>

namespace snakelm::text {
namespace {

constexpr uint64_t MOST_SLOTS = 0xFFFFFFF0;  // positions are 32 bits
constexpr uint32_t AHEAD = 16;               // positions whose slots are fetched beforehand

}  // namespace

WordCorpus::WordCorpus(const PieceCounts& counts, const Start& start, std::vector<uint32_t> lengths)
    : lengths_(std::move(lengths)) {
  const uint64_t most = counts.text_bytes() + counts.size() + 1;
  if (most >= MOST_SLOTS)
    throw std::length_error("distinct words exceed 4 GiB: train on less text");
  slots_.reserve(most);
  slots_.push_back({END, 0});
  counts.each([&](View piece, uint64_t count) { append(piece, count, start); });
}

void WordCorpus::append(View piece, uint64_t count, const Start& start) {
  ids_.clear();
  start(piece, ids_);
  if (ids_.size() < 2) return;  // has no pair

  if (count >= LARGE) large_.emplace_back(static_cast<uint32_t>(slots_.size()), count);
  const auto small = static_cast<uint32_t>(std::min<uint64_t>(count, LARGE));
  for (const uint32_t id : ids_) {
    const size_t first = slots_.size();
    slots_.resize(first + lengths_[id], {DEAD, small});
    slots_[first].token = slots_.back().token = id;
  }
  slots_.push_back({END, 0});
}

uint64_t WordCorpus::large_weight(uint32_t at) const {
  const auto beyond =
      std::upper_bound(large_.begin(), large_.end(), at,
                       [](uint32_t a, const auto& piece) { return a < piece.first; });
  return std::prev(beyond)->second;
}

void WordCorpus::count_pairs(PairTable& pairs) {
  std::vector<std::pair<uint32_t, uint32_t>> found;  // (pair, position)
  found.reserve(slots_.size());
  for (uint32_t at = 1; at + 1 < slots_.size();) {
    const uint32_t token = slots_[at].token;
    if (token == END) {
      ++at;
      continue;
    }
    const uint32_t next = at + lengths_[token];
    if (slots_[next].token != END) {
      const uint64_t key = pair_key(token, slots_[next].token);
      Pair* pair = pairs.find(key);
      if (pair == nullptr) pair = &pairs[pairs.insert({key, 0, 0, 0})];
      pair->count += weight(at);
      ++pair->positions;
      found.emplace_back(static_cast<uint32_t>(pair - &pairs[0]), at);
    }
    at = next;
  }

  std::vector<uint64_t> next(pairs.size());
  uint64_t total = 0;
  for (uint32_t number = 0; number < pairs.size(); ++number) {
    pairs[number].first = next[number] = total;
    total += pairs[number].positions;
  }
  positions_.resize(total);
  for (const auto& [number, at] : found) positions_[next[number]++] = at;
}

void WordCorpus::Neighbours::add(uint32_t token, uint64_t weight, uint32_t at) {
  Sum& sum = sums[token];
  if (sum.positions++ == 0) touched.push_back(token);
  sum.count += weight;
  position.emplace_back(token, at);
}

// A neighbour on the left that this merge made itself was counted as (made, left) a moment ago.
void WordCorpus::replace(uint32_t left, uint32_t right, uint32_t made, const Pair& pair) {
  const uint32_t left_length = lengths_[left], right_length = lengths_[right];
  const uint32_t* const positions = positions_.data() + pair.first;
  for (uint32_t i = 0; i < pair.positions; ++i) {
    if (i + AHEAD < pair.positions) __builtin_prefetch(&slots_[positions[i + AHEAD]], 1);

    const uint32_t at = positions[i], second = at + left_length;
    if (slots_[at].token != left || slots_[second].token != right) continue;
    const uint32_t end = second + right_length;
    const uint64_t w = weight(at);
    if (const uint32_t token = slots_[at - 1].token; token != END) {
      if (token == made) cancelled_ += w;
      before_.add(token, w, at - lengths_[token]);
    }
    if (const uint32_t token = slots_[end].token; token != END) after_.add(token, w, at);
    slots_[second].token = DEAD;
    slots_[at].token = slots_[end - 1].token = made;
  }
}

template <class KeyOf>
void WordCorpus::record(Neighbours& neighbours, PairTable& pairs, KeyOf key_of) {
  uint64_t next = positions_.size();
  for (const uint32_t token : neighbours.touched) {
    Neighbours::Sum& sum = neighbours.sums[token];
    pairs.insert({key_of(token), sum.count, next, sum.positions});
    sum.next = next;
    next += sum.positions;
  }

  positions_.resize(next);
  for (const auto& [token, at] : neighbours.position)
    positions_[neighbours.sums[token].next++] = at;
  for (const uint32_t token : neighbours.touched) neighbours.sums[token] = {};
  neighbours.touched.clear(), neighbours.position.clear();
}

void WordCorpus::merge(uint32_t merged, uint32_t made, PairTable& pairs) {
  const Pair pair = pairs[merged];
  const auto left = static_cast<uint32_t>(pair.key >> 32), right = static_cast<uint32_t>(pair.key);
  lengths_.resize(made + 1);
  lengths_[made] = lengths_[left] + lengths_[right];
  before_.sums.resize(made + 1), after_.sums.resize(made + 1);
  cancelled_ = 0;
  replace(left, right, made, pair);

  const auto lose = [&](uint64_t key, uint64_t count) {
    if (key != pair.key) pairs.find(key)->count -= count;
  };
  for (const uint32_t token : before_.touched)
    if (token != made) lose(pair_key(token, left), before_.sums[token].count);
  for (const uint32_t token : after_.touched)
    lose(pair_key(right, token), after_.sums[token].count);
  after_.sums[left].count -= cancelled_;

  record(before_, pairs, [&](uint32_t token) { return pair_key(token, made); });
  record(after_, pairs, [&](uint32_t token) { return pair_key(made, token); });
}

}  // namespace snakelm::text
