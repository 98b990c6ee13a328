// Dropout between the layers of a network. Each place of dropout has a rate (0: off) and a stream
// of its own; forward and backward apply the same mask in place.
#pragma once
#include "../core/concepts.hpp"
#include "../core/dropout_kernel.hpp"

namespace preheat::nn {

struct dropout_stream {
  double rate = 0;
  generator stream{};

  bool on() const { return rate > 0; }
  // The place of dropout with this number inside this one.
  dropout_stream fork(std::uint64_t number) const {
    return {rate, stream.fork(purpose::dropout, number)};
  }
};

template <backend Be>
void apply_dropout(Be& be, const dropout_stream& site, view_of<Be> x) {
  if (site.on()) {
    be.apply_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, x,
                     const_view_of<Be>(x));
  }
}
// y = x with the mask applied; x itself if the rate is 0. `place` is the memory for y.
template <backend Be>
const_view_of<Be> with_dropout(Be& be, const dropout_stream& site, const_view_of<Be> x,
                               mat<Be>& place) {
  if (!site.on()) {
    return x;
  }
  be.resize(place, x.rows(), x.cols());
  be.apply_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, place, x);
  return place;
}

}  // namespace preheat::nn
