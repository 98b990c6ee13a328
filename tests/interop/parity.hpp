// The layers of parity.py by preheat: the output, the gradients and the merged weight against PEFT's.
#pragma once
#include <filesystem>

// Checks every case of a folder in float and double, prints a line for each and returns how many cases there
// were. Throws at the first difference.
int check_parity(const std::filesystem::path& folder);
