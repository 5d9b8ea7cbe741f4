#include "text/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace snakelm::text {

Vocabulary::Vocabulary(const std::vector<std::string_view>& tokens, const Seeds& seeds)
    : seeds_(seeds) {
  if (tokens.size() > MOST_TOKENS)
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

  parts_ = {Array(std::move(bytes)), Array(std::move(offsets)), IdSlots(tokens.size())};

  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const auto* p = reinterpret_cast<const uint8_t*>(tokens[id].data());
    if (const uint32_t twin = find(p, tokens[id].size()); twin != NO_TOKEN) {
      throw std::invalid_argument("ids " + std::to_string(twin) + " and " + std::to_string(id) +
                                  " are the same token");
    }
    parts_.ids.insert(hash_bytes(p, tokens[id].size(), seeds_), id);
  }
}

Vocabulary::Vocabulary(Parts parts, const Seeds& seeds) : parts_(std::move(parts)), seeds_(seeds) {
  for (size_t id = 0; id < size(); ++id)
    longest_ = std::max<size_t>(longest_, parts_.offsets[id + 1] - parts_.offsets[id]);
}

uint32_t Vocabulary::find(const uint8_t* p, size_t length) const {
  if (length > longest_) return NO_TOKEN;
  return parts_.ids.find(hash_bytes(p, length, seeds_), [&](uint32_t id) {
    const uint32_t begin = parts_.offsets[id];
    return parts_.offsets[id + 1] - begin == length &&
           std::memcmp(parts_.bytes.data() + begin, p, length) == 0;
  });
}

}  // namespace snakelm::text
