#include "text/vocabulary.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace snakelm::text {
namespace {

uint64_t load(const uint8_t* p, size_t n) {
  uint64_t value = 0;
  std::memcpy(&value, p, n);
  return value;
}

// Both halves of a 64 x 64 bit product, folded: every input bit reaches every output bit.
uint64_t mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

uint64_t hash_bytes(const uint8_t* p, size_t length) {
  constexpr uint64_t K0 = 0x9E3779B97F4A7C15, K1 = 0xD6E8FEB86659FD93;
  uint64_t state = length * K0;
  size_t left = length;
  for (; left > 16; left -= 16, p += 16) state = mix(load(p, 8) ^ K0 ^ state, load(p + 8, 8) ^ K1);

  // The last 1..16 bytes as two words that may overlap; together with the length they determine the
  // key.

  uint64_t a = 0, b = 0;
  if (left >= 8) {
    a = load(p, 8), b = load(p + left - 8, 8);
  } else if (left >= 4) {
    a = load(p, 4), b = load(p + left - 4, 4);
  } else if (left > 0) {
    a = static_cast<uint64_t>(p[0]) << 16 | static_cast<uint64_t>(p[left / 2]) << 8 | p[left - 1];
  }
  return mix(a ^ K1 ^ state, b ^ K0);
}

Vocabulary::Vocabulary(const std::vector<std::string_view>& tokens) {
  if (tokens.size() >= NO_TOKEN / 4)
    throw std::invalid_argument("too many tokens: " + std::to_string(tokens.size()));
  offsets_.reserve(tokens.size() + 1);
  offsets_.push_back(0);
  for (const std::string_view token : tokens) {
    bytes_.insert(bytes_.end(), token.begin(), token.end());
    if (bytes_.size() >= NO_TOKEN) throw std::invalid_argument("tokens exceed 4 GiB together");
    offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
    longest_ = std::max(longest_, token.size());
  }

  size_t capacity = 1024;
  while (capacity < 2 * tokens.size()) capacity *= 2;
  slots_.assign(capacity, {0, NO_TOKEN});
  mask_ = capacity - 1;

  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto* p = reinterpret_cast<const uint8_t*>(tokens[id].data());
    if (const uint32_t twin = find(p, tokens[id].size()); twin != NO_TOKEN) {
      throw std::invalid_argument("ids " + std::to_string(twin) + " and " + std::to_string(id) +
                                  " are the same token");
    }
    const uint64_t hash = hash_bytes(p, tokens[id].size());
    uint64_t i = hash & mask_;
    while (slots_[i].id != NO_TOKEN) i = (i + 1) & mask_;
    slots_[i] = {static_cast<uint32_t>(hash >> 32), id};
  }

  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    if (find(&byte, 1) == NO_TOKEN)
      throw std::invalid_argument("no token for byte " + std::to_string(b));
  }
}

uint32_t Vocabulary::find(const uint8_t* p, size_t length) const {
  if (length > longest_) return NO_TOKEN;
  const uint64_t hash = hash_bytes(p, length);
  const auto check = static_cast<uint32_t>(hash >> 32);
  for (uint64_t i = hash & mask_; slots_[i].id != NO_TOKEN; i = (i + 1) & mask_) {
    if (slots_[i].check != check) continue;
    const uint32_t id = slots_[i].id;
    const uint32_t begin = offsets_[id];
    if (offsets_[id + 1] - begin == length && std::memcmp(bytes_.data() + begin, p, length) == 0)
      return id;
  }
  return NO_TOKEN;
}

}  // namespace snakelm::text
