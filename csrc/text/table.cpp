#include "text/table.h"

#include <algorithm>
#include <cstddef>
#include <stdexcept>

namespace snakelm::text {
namespace {

constexpr char MAGIC[16] = "snakelm encoder";
constexpr uint32_t VERSION = 2;  // of the layout, and of the hashes
constexpr uint32_t ORDER_OF_BYTES = 0x01020304;
constexpr size_t ALIGNMENT = 64;
constexpr int ARRAYS = 5;
constexpr Seeds CHECKSUM{0x243F6A8885A308D3, 0x13198A2E03707345};  // digits of pi; for damage
constexpr const char* CONTRADICTION = "its numbers contradict one another";

struct Header {
  char magic[sizeof MAGIC];
  uint32_t version, byte_order;
  uint64_t size;            // of the file
  uint64_t checksum;        // of the file with zeros here
  uint64_t counts[ARRAYS];  // elements of the arrays
  Identity identity;
};

struct Slices {
  size_t starts[ARRAYS], end;
};

// Where arrays of these counts lie.
Slices slices(const uint64_t (&counts)[ARRAYS]) {
  constexpr size_t WIDTHS[ARRAYS] = {1, sizeof(uint32_t), sizeof(uint32_t),
                                     sizeof(MergeTable::Pair), sizeof(uint32_t)};
  Slices slices{};
  size_t at = sizeof(Header);
  for (int i = 0; i < ARRAYS; ++i) {
    at = (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    slices.starts[i] = at;
    at += counts[i] * WIDTHS[i];
  }
  slices.end = at;
  return slices;
}

uint64_t checksum(Header header, View file) {
  header.checksum = 0;
  const auto* const head = reinterpret_cast<Bytes>(&header);
  return mix(hash_bytes(head, sizeof header, CHECKSUM),
             hash_bytes(file.data + sizeof header, file.length - sizeof header, CHECKSUM));
}

void require(bool holds, const char* found) {
  if (!holds) throw std::invalid_argument(found);
}

bool is_table_size(uint64_t n) { return n >= 2 && n <= NO_TOKEN && (n & (n - 1)) == 0; }

template <class T>
Array<T> slice(View file, size_t start, uint64_t count) {
  return {reinterpret_cast<const T*>(file.data + start), static_cast<size_t>(count)};
}

// Every number is one that may be followed, and a search of either table ends.
void check(const Vocabulary::Parts& parts, const Array<MergeTable::Pair>& pairs,
           const IdSlots& merges) {
  const uint32_t* const offsets = parts.offsets.data();
  const size_t tokens = parts.offsets.size() - 1;
  bool good = offsets[0] == 0 && offsets[tokens] == parts.bytes.size();
  for (size_t i = 0; i < tokens; ++i) good &= offsets[i] <= offsets[i + 1];
  for (const MergeTable::Pair& pair : pairs) {
    const bool none = pair.left == NO_TOKEN && pair.right == NO_TOKEN;
    good &= none || (pair.left < tokens && pair.right < tokens);
  }
  good &= pairs.size() == tokens && parts.ids.is_sound(tokens) && merges.is_sound(tokens);
  require(good, CONTRADICTION);
}

}  // namespace

Seeds seeds_of(const Identity& identity) {
  return {load(identity.data(), 8), load(identity.data() + 8, 8) | 1};
}

std::string format_table(const Vocabulary& vocabulary, const MergeTable& merges,
                         const Identity& identity) {
  const Vocabulary::Parts& parts = vocabulary.parts();
  Header header{{}, VERSION, ORDER_OF_BYTES, 0, 0, {}, identity};
  std::memcpy(header.magic, MAGIC, sizeof MAGIC);
  const uint64_t counts[ARRAYS] = {parts.bytes.size(), parts.offsets.size(),
                                   parts.ids.slots().size(), merges.pairs().size(),
                                   merges.ids().slots().size()};
  std::copy_n(counts, ARRAYS, header.counts);
  const Slices at = slices(header.counts);
  header.size = at.end;

  std::string file(at.end, '\0');
  const auto put = [&](size_t start, const auto& array) {
    std::memcpy(file.data() + start, array.data(), array.size() * sizeof array[0]);
  };
  put(at.starts[0], parts.bytes), put(at.starts[1], parts.offsets);
  put(at.starts[2], parts.ids.slots()), put(at.starts[3], merges.pairs());
  put(at.starts[4], merges.ids().slots());
  std::memcpy(file.data(), &header, sizeof header);
  seal(file);
  return file;
}

void seal(std::string& file) {
  Header header;
  std::memcpy(&header, file.data(), sizeof header);
  header.checksum = checksum(header, {reinterpret_cast<Bytes>(file.data()), file.size()});
  std::memcpy(file.data(), &header, sizeof header);
}

Tables read_table(View file, const Identity& identity) {
  Header header;
  require(file.length >= sizeof header, "shorter than its header");
  std::memcpy(&header, file.data, sizeof header);
  require(std::memcmp(header.magic, MAGIC, sizeof MAGIC) == 0, "not an encoder's table");
  require(header.version == VERSION, "of another version");
  require(header.byte_order == ORDER_OF_BYTES, "of a machine with another byte order");
  require(header.identity == identity, "of another tokenizer");
  require(header.size == file.length, "cut off or longer than it was");
  require(header.checksum == checksum(header, file), "damaged: its checksum differs");

  // A count beyond the file's size cannot be, and smaller ones cannot overflow.
  for (const uint64_t count : header.counts) require(count <= file.length, CONTRADICTION);
  const Slices at = slices(header.counts);
  require(at.end == file.length && header.counts[1] > 256 && header.counts[1] <= MOST_TOKENS + 1 &&
              is_table_size(header.counts[2]) && is_table_size(header.counts[4]),
          CONTRADICTION);
  const auto* const counts = header.counts;
  Vocabulary::Parts parts{slice<uint8_t>(file, at.starts[0], counts[0]),
                          slice<uint32_t>(file, at.starts[1], counts[1]),
                          IdSlots(slice<uint32_t>(file, at.starts[2], counts[2]))};
  auto pairs = slice<MergeTable::Pair>(file, at.starts[3], counts[3]);
  IdSlots merges(slice<uint32_t>(file, at.starts[4], counts[4]));
  check(parts, pairs, merges);
  const Seeds seeds = seeds_of(identity);
  return {Vocabulary(std::move(parts), seeds),
          MergeTable(std::move(pairs), std::move(merges), seeds)};
}

}  // namespace snakelm::text
