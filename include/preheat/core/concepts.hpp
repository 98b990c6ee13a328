// The contracts of the library, one header per contract: what a backend, a network and a policy of
// each axis must have, with a complete small example. This header includes them all.
//
//   backend.hpp     where matrices are stored and which operations a backend computes on them
//   init.hpp        the factors that an adapter starts from
//   adapter.hpp     how ΔW depends on its parameters, and its gradients
//   optim.hpp       how a step changes the parameters
//   rank_chain.hpp  how much rank each layer has; when ΔW is merged into W
//   network.hpp     a network, the operator it calls, its batches
//   head.hpp        a linear layer at a network's end that is trained beside the adapters
//
// hooks.hpp has the moments of a run at which a policy may act. complete.hpp refuses a type that lacks a
// member in words; docs/extending.md has a program of each kind.
#pragma once
#include "adapter.hpp"
#include "backend.hpp"
#include "head.hpp"
#include "hooks.hpp"
#include "init.hpp"
#include "network.hpp"
#include "optim.hpp"
#include "optional_members.hpp"
#include "parameters.hpp"
#include "random.hpp"
#include "rank_chain.hpp"
#include "types.hpp"
