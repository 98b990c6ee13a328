// Safetensors files: named tensors and a few strings of metadata in one file, by a header of JSON
// and the tensors' bytes behind it. The pieces:
//
//   safetensors_reader.hpp  safetensors_file: opens a file in place and gives tensors as values,
//                           column-major matrices or views
//   safetensors_writer.hpp  safetensors_writer and write_safetensors: whole files or none
//   safetensors_header.hpp  the format, and every check that a file passes before it is used
//   strict_json.hpp         JSON from outside: no key twice, no endless nesting
//   tensor_info.hpp         one tensor: dtype, shape, bytes
//   dtype.hpp, float16.hpp  element types and conversions between them
//   mapped_file.hpp, atomic_file.hpp  the two ways to the disk; POSIX systems only
//
// A complete program that turns a weight to bfloat16:
//
//   #include <preheat/io/safetensors.hpp>
//
//   int main() {
//     namespace io = preheat::io;
//     const io::safetensors_file file("model.safetensors");
//     const std::vector<float> weight = file.values<float>("encoder.weight");
//     io::safetensors_writer writer;
//     writer.add<float>("encoder.weight", file.info("encoder.weight").shape, weight,
//                       io::dtype::BF16);
//     writer.write("model_bf16.safetensors");
//   }
#pragma once
#include "safetensors_header.hpp"
#include "safetensors_reader.hpp"
#include "safetensors_writer.hpp"
