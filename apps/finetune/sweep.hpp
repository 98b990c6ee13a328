// Runs of several methods, rates and seeds, of which the one with the smallest held-out loss is kept.
#pragma once
#include <filesystem>
#include <vector>

#include "material.hpp"

namespace apps::finetune {

// Makes the runs that `folder` has not, prints the table, and returns the folder of the best adapter. The
// processes take the runs in turn, each whole. Finished runs are lines of folder/log.jsonl, log.1.jsonl, … of the
// processes, so that a sweep that was stopped, or asks for more, goes on, with any number of processes. Errors: std::runtime_error if it is interrupted, or no run has a finite loss.
std::filesystem::path sweep(material& m, const std::vector<run_choice>& runs,
                            const std::filesystem::path& folder);

// Moves the best adapter to `out` and removes the folder.
void finish_sweep(const std::filesystem::path& best, const std::filesystem::path& folder,
                  const std::filesystem::path& out);

}  // namespace apps::finetune
