// GGUF files: the tensors and the metadata of a language model in one file, as llama.cpp and its
// relatives keep them, often in fewer bits than floats have. The pieces:
//
//   reader.hpp                opens a file in place
//   metadata_reader.hpp       its metadata by type, and which keys were not read
//   tensor_values.hpp         its tensors as matrices of float or double, whatever their type
//   writer.hpp                writes files (F32, F16, BF16, Q8_0), which appear whole or not at all
//   metadata_writer.hpp       the metadata of a file to be written
//   header.hpp                the format, and every check that a file passes before it is used
//   tensor_type.hpp, *_block*.hpp, unpack.hpp, pack.hpp   element types and how each is packed
//   tensor_names.hpp, row_order.hpp   what Hugging Face calls a tensor, and how it orders its rows
//
// A complete program that turns a weight to Q8_0:
//
//   #include <preheat/gguf/gguf.hpp>
//
//   int main() {
//     namespace gguf = preheat::gguf;
//     const gguf::reader file("model.gguf");
//     const std::vector<float> weight = file.values<float>("output.weight");
//     gguf::writer writer;
//     for (const auto& [key, value] : file.metadata()) {
//       writer.metadata().set(key, value);
//     }
//     writer.add<float>("output.weight", file.info("output.weight").shape, weight,
//                       gguf::tensor_type::Q8_0);
//     writer.write("output.gguf");
//   }
#pragma once
#include "reader.hpp"
#include "row_order.hpp"
#include "tensor_names.hpp"
#include "writer.hpp"
