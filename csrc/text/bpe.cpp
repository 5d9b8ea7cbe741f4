#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <stdexcept>
#include <string>

namespace snakelm::text {
namespace {

// Below this many bytes a rescan of the parts per merge is faster than a heap.
constexpr size_t SHORT_PIECE = 64;
constexpr size_t MOST_KEPT = size_t{1} << 20;  // ids or bytes of one piece

static_assert(SHORT_PIECE <= 64 && SHORT_PIECE % 2 == 0);

SNAKELM_KERNEL_TABLE(WORD_PLACES, word_places);

}  // namespace

Encoder::Encoder(const std::vector<std::string_view>& tokens, Pattern pattern, Isa isa,
                 const Seeds& seeds)
    : vocabulary_(tokens, seeds), finder_(pattern, isa),
      word_places_(linked_at_most(WORD_PLACES, isa)), merges_(tokens.size(), seeds) {
  index_bytes();
  MergeScratch scratch;
  for (uint32_t id = 0; id < tokens.size(); ++id) add_pair(id, scratch);
}

Encoder::Encoder(Tables tables, Pattern pattern, Isa isa)
    : vocabulary_(std::move(tables.vocabulary)), finder_(pattern, isa),
      word_places_(linked_at_most(WORD_PLACES, isa)), merges_(std::move(tables.merges)) {
  index_bytes();
}

void Encoder::index_bytes() {
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    byte_ids_[b] = vocabulary_.find(&byte, 1);
    if (byte_ids_[b] == NO_TOKEN)
      throw std::invalid_argument("no token for byte " + std::to_string(b));
  }

  byte_pairs_.reset(new uint32_t[65536]);
  std::fill_n(byte_pairs_.get(), 65536, NO_TOKEN);
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.size() != 2) continue;
    const auto* p = reinterpret_cast<Bytes>(token.data());
    byte_pairs_[p[0] << 8 | p[1]] = id;
  }
}

// Under lower ids a token of a trained vocabulary merges to its two parts; so does any other unless
// a part has a higher id than the whole. Then the parts are looked up by their bytes.
void Encoder::add_pair(uint32_t id, MergeScratch& scratch) {
  const std::string_view token = vocabulary_.token(id);
  if (token.size() < 2) return;
  const View piece{reinterpret_cast<Bytes>(token.data()), token.size()};
  Ids& parts = scratch.ids;
  parts.clear();
  merge(piece, id, scratch, parts);
  if (parts.size() > 2) {
    const auto rank = [&](size_t from, size_t, size_t to) {
      return vocabulary_.find(piece.data + from, to - from);
    };
    parts.clear();
    merge_long(piece, 2, rank, scratch, parts);
  }
  if (parts.size() == 2) merges_.insert(parts.data()[0], parts.data()[1], id);
}

void Encoder::merge(View piece, uint32_t limit, MergeScratch& scratch, Ids& out) const {
  if (piece.length <= SHORT_PIECE) return merge_short(piece, limit, out);
  const auto rank = [&](size_t from, size_t middle, size_t) {
    const auto& parts = scratch.parts;
    const uint32_t id = merges_.find(parts[from].id, parts[middle].id);
    return id < limit ? id : NO_TOKEN;
  };
  merge_long(piece, 1, rank, scratch, out);
}

// A pair that ranks before both its neighbours nearly always merges, whatever happens around them:
// what it may merge with then is asked for at once, and the waits are one.
void Encoder::ask_ahead(const uint32_t* ids, const uint64_t* ranks, size_t n) const {
  uint64_t before = ~uint64_t{0};
  for (size_t i = 0; i + 1 < n; before = ranks[i++]) {
    if (ranks[i] >= before || ranks[i] >= ranks[i + 1]) continue;
    const auto id = static_cast<uint32_t>(ranks[i] >> 32);
    if (i > 0) merges_.prefetch(ids[i - 1], id);
    if (i + 2 < n) merges_.prefetch(id, ids[i + 2]);
  }
}

void Encoder::merge_short(View piece, uint32_t limit, Ids& out) const {
  const size_t n = piece.length;
  uint32_t ids[SHORT_PIECE];        // of the part that begins at a byte
  uint64_t ranks[SHORT_PIECE + 1];  // rank << 32 | byte: of that part and the next one together
  constexpr uint64_t NONE = ~uint64_t{0};
  const auto ranked = [&](uint32_t id, size_t i) {
    return id < limit ? static_cast<uint64_t>(id) << 32 | i : NONE;
  };
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[piece.data[i]];
  for (size_t i = 0; i + 1 < n; ++i)
    ranks[i] = ranked(byte_pairs_[piece.data[i] << 8 | piece.data[i + 1]], i);
  ranks[n - 1] = ranks[n] = NONE;
  ask_ahead(ids, ranks, n);

  uint64_t starts = n < 64 ? (uint64_t{1} << n) - 1 : NONE;  // bit i: a part begins at byte i
  while (true) {
    uint64_t even = NONE, odd = NONE;
    for (size_t i = 0; i < n; i += 2)
      even = std::min(even, ranks[i]), odd = std::min(odd, ranks[i + 1]);
    const uint64_t best = std::min(even, odd);
    if (best == NONE) break;

    const auto at = static_cast<uint32_t>(best);
    const uint64_t bit = uint64_t{1} << at;
    const uint64_t behind = starts & ~(bit | (bit - 1));  // never empty: there is a next part
    const uint64_t rest = behind & (behind - 1), before = starts & (bit - 1);
    ids[at] = static_cast<uint32_t>(best >> 32);
    ranks[__builtin_ctzll(behind)] = NONE;
    starts ^= behind ^ rest;
    const auto i = static_cast<size_t>(63 - __builtin_clzll(before | 1));
    merges_.prefetch(ids[i], ids[at]);
    ranks[at] = rest ? ranked(merges_.find(ids[at], ids[__builtin_ctzll(rest)]), at) : NONE;
    if (before) {
      ranks[i] = ranked(merges_.find(ids[i], ids[at]), i);
    }
  }
  uint32_t* next = out.room(n);
  for (; starts; starts &= starts - 1) *next++ = ids[__builtin_ctzll(starts)];
  out.wrote(next);
}

// Merges until `fewest` parts are left, or no two of them are a token. rank(from, middle, to): the
// id of the parts that begin at the bytes `from` and `middle` and end at `to`.
template <class Rank>
void Encoder::merge_long(View piece, size_t fewest, const Rank& rank, MergeScratch& scratch,
                         Ids& out) const {
  if (piece.length >= NO_TOKEN)
    throw std::length_error("a piece of 4 GiB or more cannot be encoded");
  const auto n = static_cast<uint32_t>(piece.length);
  auto& parts = scratch.parts;
  auto& heap = scratch.heap;
  parts.resize(n + 1);
  for (uint32_t i = 0; i < n; ++i) parts[i] = {byte_ids_[piece.data[i]], NO_TOKEN, i - 1, i + 1};
  parts[n] = {NO_TOKEN, NO_TOKEN, n - 1, n};

  heap.clear();
  const auto join = [&](uint32_t i) {
    const uint32_t middle = parts[i].next;
    parts[i].rank = middle < n ? rank(i, middle, parts[middle].next) : NO_TOKEN;
    if (parts[i].rank == NO_TOKEN) return false;
    heap.push_back(static_cast<uint64_t>(parts[i].rank) << 32 | i);
    return true;
  };
  const auto rejoin = [&](uint32_t i) {
    if (join(i)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < n; ++i) join(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  for (size_t left = n; left > fewest && !heap.empty();) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto i = static_cast<uint32_t>(heap.back());
    const auto wanted = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    if (parts[i].rank != wanted)
      continue;  // part i has merged since; equal rank and start mean equal bytes
    const uint32_t gone = parts[i].next;
    parts[gone].rank = NO_TOKEN;
    parts[i].id = wanted;
    parts[i].next = parts[gone].next;
    parts[parts[gone].next].previous = i;
    --left;
    rejoin(i);
    if (i > 0) rejoin(parts[i].previous);
  }

  for (uint32_t i = 0; i < n; i = parts[i].next) out.push_back(parts[i].id);
  // One huge piece must not hold its working memory for the rest of the batch.
  if (n > MOST_KEPT) parts = {}, heap = {};
}

const Ids& Encoder::encode_piece(View piece, MergeScratch& scratch) const {
  Ids& ids = scratch.ids;
  ids.clear();
  const uint32_t id = vocabulary_.find(piece.data, piece.length);
  if (id != NO_TOKEN)
    ids.push_back(id);
  else
    merge(piece, NO_TOKEN, scratch, ids);
  return ids;
}

template <class Id>
void Encoder::encode_unknown(View piece, const WordKey& key, Scratch<Id>& scratch,
                             IdsOf<Id>& out) const {
  if (piece.length > LongWords<Id>::LONGEST) {
    const Ids& ids = encode_piece(piece, scratch);
    out.append(ids.data(), ids.size());
    // One huge piece must not hold its memory for the rest of the batch.
    if (ids.size() > MOST_KEPT) scratch.ids = Ids();
    return;
  }

  if (piece.length > LONGEST_WORD) return encode_long_word(piece, scratch, out);
  if (const auto* const entry = scratch.words.find(key))
    return out.wrote(scratch.words.write(*entry, out.room(WordCache<Id>::MOST_IDS)));
  const Ids& ids = encode_piece(piece, scratch);
  out.append(ids.data(), ids.size());
  scratch.words.insert(key, ids.data(), static_cast<uint32_t>(ids.size()));
}

template <class Id>
void Encoder::encode_long_word(View piece, Scratch<Id>& scratch, IdsOf<Id>& out) const {
  LongWords<Id>& known = scratch.long_words;
  const uint64_t hash = known.hash(piece);
  if (const auto* const entry = known.find(piece, hash))
    return out.append(known.ids(*entry), entry->count);
  const Ids& ids = encode_piece(piece, scratch);
  out.append(ids.data(), ids.size());
  known.insert(piece, hash, ids.data(), static_cast<uint32_t>(ids.size()));
}

template <class Id>
void Encoder::find_places(Scratch<Id>& scratch, size_t words) const {
  const WordHash hash = scratch.words.hash();
  if (word_places_) return word_places_(scratch.keys, words, hash, scratch.places);
  for (size_t i = 0; i < words; ++i) scratch.places[i] = hash.place(scratch.keys[i]);
}

template <class Id>
void Encoder::prepare_words(Bytes text, Bytes end, uint32_t start, const uint32_t* ends,
                            size_t words, Scratch<Id>& scratch) const {
  const WordCache<Id>& cache = scratch.words;
  WordKey* const keys = scratch.keys;
  uint32_t* const places = scratch.places;
  if (word_places_) {
    word_keys(text, end, start, ends, words, [&](size_t i, const WordKey& key) { keys[i] = key; });
    find_places(scratch, words);
    for (size_t i = 0; i < words; ++i) __builtin_prefetch(cache.bucket(places[i]));
    return;
  }

  // One loop: a key is hashed while it is in a register.
  const WordHash hash = cache.hash();
  word_keys(text, end, start, ends, words, [&](size_t i, const WordKey& key) {
    keys[i] = key;
    places[i] = hash.place(key);
    __builtin_prefetch(cache.bucket(places[i]));
  });
}

template <class Id>
void Encoder::encode_pieces(Bytes text, Bytes end, const uint32_t* ends, size_t count,
                            Scratch<Id>& scratch, IdsOf<Id>& out) const {
  constexpr size_t AHEAD = Scratch<Id>::AHEAD;
  WordCache<Id>& cache = scratch.words;
  const WordKey* const keys = scratch.keys;
  const uint32_t* const places = scratch.places;
  uint32_t start = 0;
  for (size_t first = 0; first < count; first += AHEAD, ends += AHEAD) {
    const size_t words = std::min(AHEAD, count - first);
    size_t entries = cache.entries();
    prepare_words(text, end, start, ends, words, scratch);

    constexpr size_t ROOM = AHEAD * WordCache<Id>::MOST_IDS;
    Id* next = out.room(ROOM);
    for (size_t i = 0; i < words; ++i) {
      // Words met earlier stand first in their bucket, and the frequent ones are met early.
      const WordEntry<Id>* entry = cache.bucket(places[i]);
      if (!(entry->key == keys[i])) [[unlikely]] {
        if (!((++entry)->key == keys[i])) [[unlikely]] {
          out.wrote(next);
          const uint32_t from = i ? ends[i - 1] : start;
          encode_unknown({text + from, ends[i] - from}, keys[i], scratch, out);
          next = out.room(ROOM);
          if (cache.entries() != entries) {  // it has grown: all places are other ones
            find_places(scratch, words);
            entries = cache.entries();
          }
          continue;
        }
      }
      next = cache.write(*entry, next);
    }
    out.wrote(next);
    start = ends[words - 1];
  }
}

template <class Id>
void Encoder::encode(View text, Scratch<Id>& scratch, IdsOf<Id>& out) const {
  const Bytes end = text.data + text.length;
  for (Bytes p = text.data; p != end;) {
    const size_t count = finder_.ends(p, static_cast<size_t>(end - p), scratch.ends);
    encode_pieces(p, end, scratch.ends, count, scratch, out);
    p += scratch.ends[count - 1];
  }
}

std::vector<std::pair<uint32_t, uint32_t>> Encoder::merges() const {
  std::vector<std::pair<uint32_t, uint32_t>> result(vocabulary_.size(), {NO_TOKEN, NO_TOKEN});
  MergeScratch scratch;
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    if (token.size() < 2) continue;
    Ids& parts = scratch.ids;
    parts.clear();
    merge({reinterpret_cast<Bytes>(token.data()), token.size()}, id, scratch, parts);
    if (parts.size() == 2) result[id] = {parts.data()[0], parts.data()[1]};
  }
  return result;
}

template <class Id>
std::vector<std::unique_ptr<Scratch<Id>>>& Encoder::idle() const {
  if constexpr (sizeof(Id) == 2)
    return idle_16_;
  else
    return idle_32_;
}

template <class Id>
Encoder::Lent<Id>::Lent(const Encoder& encoder) : encoder_(encoder) {
  const std::lock_guard<std::mutex> guard(encoder.lock_);
  auto& idle = encoder.idle<Id>();
  if (idle.empty()) {
    scratch_ = std::make_unique<Scratch<Id>>();
  } else {
    scratch_ = std::move(idle.back());
    idle.pop_back();
  }
}

template <class Id>
Encoder::Lent<Id>::~Lent() {
  const std::lock_guard<std::mutex> guard(encoder_.lock_);
  encoder_.idle<Id>().push_back(std::move(scratch_));
}

template void Encoder::encode(View, Scratch<uint16_t>&, IdsOf<uint16_t>&) const;
template void Encoder::encode(View, Scratch<uint32_t>&, IdsOf<uint32_t>&) const;
template class Encoder::Lent<uint16_t>;
template class Encoder::Lent<uint32_t>;

}  // namespace snakelm::text
