#include "text/hash.h"

#include <chrono>
#include <exception>
#include <random>

namespace snakelm::text {
namespace {

uint64_t secret() {
  try {
    std::random_device device;
    return static_cast<uint64_t>(device()) << 32 | device();
  } catch (const std::exception&) {  // no source of randomness here: the clock must do
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    return static_cast<uint64_t>(now) * 0x9E3779B97F4A7C15;
  }
}

}  // namespace

const uint64_t SECRET_0 = secret(), SECRET_1 = secret() | 1;

}  // namespace snakelm::text
