// A chain of callbacks has on its stack, once a level, each function through which Python calls C++
// and C++ calls Python. What such a function does before and after the call stands apart and is not
// inlined into it: else the room which that needs for itself would lie beneath every level, and
// memory that nobody touched before is most of what a deep chain costs.

#pragma once

#define UNIRUN_APART [[gnu::noinline]]
