# SPDX-License-Identifier: Apache-2.0
"""A second, simple model of pools and frames while memory lasts; written from mm/hugetlb.c.

It has no page tables, no lists of frames and no allocator: a pool is, for each node, the free
pages as a stack of flags (optimised or not). Its facts of a generation are its own.
"""

from collections import Counter, deque

from tests.sim_backend.harness import ALL, since

RESERVED = since({"v17": 2, "5.18": 1})
NEW_HEAD = since({"v17": 0, "6.2": 1})
LISTS = since({"v17": False, "6.7": True})
BATCHED_DEMOTION = since({"v17": False, "6.11": True})


class Pool:
    """One huge page size; ``frames`` is how many frames its struct pages fill, if whole ones."""

    def __init__(self, order: int, frames: int, nodes: int) -> None:
        self.order, self.frames, self.gigantic = order, frames, order > 10
        self.free: list[deque[bool]] = [deque() for _ in range(nodes)]
        self.used: deque[tuple[int, bool]] = deque()
        self.surplus = [0] * nodes
        self.overcommit = self.next_alloc = self.next_free = self.reserved = 0

    def total(self, node: int) -> int:
        return len(self.free[node]) + sum(nid == node for nid, _ in self.used)

    @property
    def persistent(self) -> int:
        return sum(map(self.total, range(len(self.free)))) - sum(self.surplus)

    @property
    def available(self) -> int:
        return sum(map(len, self.free)) - self.reserved

    def turns(self, cursor: str) -> list[int]:
        """Nodes from a cursor on; ``turn`` moves it past the one that was taken."""
        first = getattr(self, cursor)
        return [(first + n) % len(self.free) for n in range(len(self.free))]

    def turn(self, cursor: str, node: int) -> int:
        setattr(self, cursor, (node + 1) % len(self.free))
        return node


class Model:
    """All pools of a machine. Tasks run on node 0."""

    def __init__(self, generation: str, orders: tuple[int, ...], nodes: int) -> None:
        self.generation, self.on = generation, True
        self.pools = {order: Pool(order, (64 << order) // 4096, nodes) for order in orders}
        self.counts: Counter[tuple[str, int, int]] = Counter()
        self.saved = [0] * nodes

    def _spare(self, pool: Pool) -> int:
        return max(0, pool.frames - RESERVED[self.generation]) if self.generation != "v17" else 0

    def _optimize(self, pool: Pool, node: int) -> bool:
        spare = self._spare(pool)
        self.counts["optimize_calls", pool.order, node] += 1
        if self.on and spare:
            head = NEW_HEAD[self.generation]
            self.counts["frames_freed", pool.order, node] += spare + head
            self.counts["head", pool.order, node] += head
            self.saved[node] += spare
        return self.on and spare > 0

    def _restore(self, pool: Pool, node: int, optimized: bool) -> None:
        if optimized:
            self.counts["restore", pool.order, node] += self._spare(pool)
            self.saved[node] -= self._spare(pool)

    def _free(self, pool: Pool, node: int, optimized: bool) -> None:
        """free_huge_page: away where the node has surplus, else first on its free list."""
        if pool.surplus[node]:
            pool.surplus[node] -= 1
            self._restore(pool, node, optimized)
        else:
            pool.free[node].appendleft(optimized)

    def hvo(self, on: bool) -> None:
        self.on = on

    def grow(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        while pages and any(pool.surplus):  # adjust_pool_surplus(-1)
            node = next(n for n in pool.turns("next_alloc") if pool.surplus[n])
            pool.surplus[pool.turn("next_alloc", node)] -= 1
            pages -= 1
        nodes = [pool.turn("next_alloc", pool.next_alloc) for _ in range(pages)]
        for node in reversed(nodes) if LISTS[self.generation] else nodes:
            pool.free[node].appendleft(self._optimize(pool, node))

    def shrink(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        goal = pool.persistent - pages
        in_use = len(pool.used) + pool.reserved
        while pool.persistent > max(goal, in_use) and any(pool.free):
            node = next(n for n in pool.turns("next_free") if pool.free[n])
            self._restore(pool, pool.turn("next_free", node), pool.free[node].popleft())
        while pool.persistent > goal:  # adjust_pool_surplus(1)
            node = next(n for n in pool.turns("next_free") if pool.surplus[n] < pool.total(n))
            pool.surplus[pool.turn("next_free", node)] += 1

    def take(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        for got in range(pages):
            node = next((n for n, free in enumerate(pool.free) if free), None)
            if node is not None and pool.available > 0:
                pool.used.append((node, pool.free[node].popleft()))
            elif not pool.gigantic:  # alloc_surplus_huge_page, on the task's node
                pool.overcommit = max(pool.overcommit, sum(pool.surplus) + pages - got)
                pool.surplus[0] += 1
                pool.used.append((0, self._optimize(pool, 0)))

    def give(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        for _ in range(min(pages, len(pool.used))):
            self._free(pool, *pool.used.popleft())

    def overcommit(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        if pool.gigantic:
            return
        mapped = []
        for node, free in enumerate(pool.free):
            while free and pool.available > 0:
                mapped.append((node, free.popleft()))
        pool.surplus[0] += pages
        mapped += [(0, self._optimize(pool, 0)) for _ in range(pages)]
        for node, flag in mapped:
            self._free(pool, node, flag)

    def demote(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        smaller = [other for other in self.pools if other < order]
        if not smaller or pages > sum(map(len, pool.free)):
            return
        target = self.pools[max(smaller)]
        batched = BATCHED_DEMOTION[self.generation] and pool.available > 0
        while pages and (batched or pool.available > 0):
            node = pool.turn("next_free", pool.next_free)
            batch = min(pages, len(pool.free[node]))
            for _ in range(batch if BATCHED_DEMOTION[self.generation] else min(batch, 1)):
                pages -= 1
                self._restore(pool, node, pool.free[node].popleft())
                for _ in range(1 << (order - target.order)):
                    flag = self._optimize(target, node)
                    if BATCHED_DEMOTION[self.generation]:
                        target.free[node].appendleft(flag)
                    else:
                        self._free(target, node, flag)

    def reserve(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        lacking = max(0, pages - pool.available)  # gather_surplus_pages, on the task's node
        if lacking and pool.gigantic:
            return
        pool.surplus[0] += lacking
        pool.free[0].extendleft([self._optimize(pool, 0) for _ in range(lacking)])
        pool.reserved += pages

    def unreserve(self, order: int, pages: int) -> None:
        pool = self.pools[order]
        pages = min(pages, pool.reserved)
        pool.reserved -= pages
        for _ in range(0 if pool.gigantic else min(pages, sum(pool.surplus))):
            turns = pool.turns("next_free")
            node = next((n for n in turns if pool.surplus[n] and pool.free[n]), None)
            if node is not None:
                pool.surplus[pool.turn("next_free", node)] -= 1
                self._restore(pool, node, pool.free[node].popleft())


GENERATIONS_MODELLED = tuple(n for n in ALL if n not in ("6.12.114", "6.18.51"))
"""Stable kernels that lose frames are no subject of a model this simple."""
