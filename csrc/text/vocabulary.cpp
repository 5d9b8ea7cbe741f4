#include "text/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "text/hash.h"

namespace snakelm::text {

Vocabulary::Vocabulary(const std::vector<std::string_view>& tokens, const Seeds& seeds)
    : seeds_(seeds) {
  if (tokens.size() >= NO_TOKEN / 8)
    throw std::invalid_argument("too many tokens: " + std::to_string(tokens.size()));
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> offsets{0};
  offsets.reserve(tokens.size() + 1);
  for (const std::string_view token : tokens) {
    bytes.insert(bytes.end(), token.begin(), token.end());
    if (bytes.size() >= NO_TOKEN) throw std::invalid_argument("tokens exceed 4 GiB together");
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
    longest_ = std::max(longest_, token.size());
  }

  size_t capacity = 1024;
  while (capacity < 2 * tokens.size()) capacity *= 2;
  parts_ = {Array(std::move(bytes)), Array(std::move(offsets)),
            Array(std::vector<Slot>(capacity, {0, NO_TOKEN}))};
  mask_ = capacity - 1;

  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto* p = reinterpret_cast<const uint8_t*>(tokens[id].data());
    if (const uint32_t twin = find(p, tokens[id].size()); twin != NO_TOKEN) {
      throw std::invalid_argument("ids " + std::to_string(twin) + " and " + std::to_string(id) +
                                  " are the same token");
    }
    const uint64_t hash = hash_bytes(p, tokens[id].size(), seeds_);
    uint64_t i = hash & mask_;
    while (parts_.slots[i].id != NO_TOKEN) i = (i + 1) & mask_;
    parts_.slots.own(i) = {static_cast<uint32_t>(hash >> 32), id};
  }
}

Vocabulary::Vocabulary(Parts parts, const Seeds& seeds)
    : parts_(std::move(parts)), mask_(parts_.slots.size() - 1), seeds_(seeds) {
  for (size_t id = 0; id < size(); ++id)
    longest_ = std::max<size_t>(longest_, parts_.offsets[id + 1] - parts_.offsets[id]);
}

uint32_t Vocabulary::find(const uint8_t* p, size_t length) const {
  if (length > longest_) return NO_TOKEN;
  const uint64_t hash = hash_bytes(p, length, seeds_);
  const auto check = static_cast<uint32_t>(hash >> 32);
  for (uint64_t i = hash & mask_; parts_.slots[i].id != NO_TOKEN; i = (i + 1) & mask_) {
    if (parts_.slots[i].check != check) continue;
    const uint32_t id = parts_.slots[i].id;
    const uint32_t begin = parts_.offsets[id];
    if (parts_.offsets[id + 1] - begin == length &&
        std::memcmp(parts_.bytes.data() + begin, p, length) == 0)
      return id;
  }
  return NO_TOKEN;
}

}  // namespace snakelm::text
