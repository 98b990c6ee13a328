// Dropout between the layers of a network. A site has a rate (0: off) and a stream of its own;
// forward and backward apply the same mask in place.
#pragma once
#include "../core/concepts.hpp"
#include "../core/dropout.hpp"

namespace preheat::nn {

struct dropout_site {
  double rate = 0;
  generator stream{};

  bool on() const { return rate > 0; }
  // The site with this number below this one.
  dropout_site fork(std::uint64_t number) const {
    return {rate, stream.fork(purpose::dropout, number)};
  }
};

template <backend Be>
void apply_dropout(Be& be, const dropout_site& site, out<Be> x) {
  if (site.on()) {
    be.each_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, x, in<Be>(x));
  }
}
// y = x with the mask applied; x itself where the site is off. `place` is where y may go.
template <backend Be>
in<Be> with_dropout(Be& be, const dropout_site& site, in<Be> x, mat<Be>& place) {
  if (!site.on()) {
    return x;
  }
  be.resize(place, x.rows(), x.cols());
  be.each_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, place, x);
  return place;
}

}  // namespace preheat::nn
