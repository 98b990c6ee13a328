// The instruction sets for which elementwise work is compiled, as types: a template that takes one
// has a name of its own for each, so that the linker never takes code for one processor as that for
// another.
#pragma once

namespace preheat::isa {

// The width of a SIMD register in bytes, as the compiler's options for this file allow it.
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
inline constexpr int width_here = 64;
#elif defined(__AVX2__)
inline constexpr int width_here = 32;
#else
inline constexpr int width_here = 16;
#endif

// A file that includes the headers: what its own options allow.
template <int Bytes>
struct headers {
  static constexpr int bytes = Bytes;
};
using here = headers<width_here>;

// The objects of preheat::kernels (kernels/isa.cmake has the options of each).
struct baseline {  // whatever the compiler's default is: x86-64 means SSE2
  static constexpr int bytes = 16;
};
struct v3 {  // x86-64-v3: AVX2 and FMA
  static constexpr int bytes = 32;
};
struct v4 {  // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
  static constexpr int bytes = 64;
};

// In a program linked to preheat::kernels: whichever of these the process uses.
struct best {};

}  // namespace preheat::isa
