"""What the reader of a page may see, as Kubernetes says: asked again while the page is open."""

from __future__ import annotations

from carryon_api.live.view import Expired, Unanswered
from carryon_api.problems import Problem
from carryon_api.reviews import Access, Caller, Reviews
from carryon_kube.errors import ApiError


class ReviewedReader:
    """A caller, as the reader of a page; see `view.Reader`."""

    def __init__(self, reviews: Reviews, caller: Caller, address: str) -> None:
        """Prepare.

        Args:
            reviews: Of the cluster.
            caller: Signed in when the page was opened.
            address: Where they ask from.
        """
        self._reviews = reviews
        self._caller = caller
        self._address = address

    async def signed_in(self) -> None:
        """Whether the token still holds; groups may have changed with it. A trusted proxy is not asked again.

        Raises:
            Expired: It does not.
            Unanswered: Kubernetes does not say.
        """
        if self._caller.token is None:
            return
        try:
            self._caller = await self._reviews.caller(self._caller.token, self._address)
        except Problem as problem:
            if problem.status == 401:
                raise Expired(problem.detail) from problem
            raise Unanswered(problem.detail) from problem
        except ApiError as error:
            raise Unanswered(str(error)) from error

    async def may_list(self, namespace: str | None) -> bool:
        """Whether they may list the jobs of a namespace; None: of all."""
        return await self._may(Access("list", namespace))

    async def may_get(self, namespace: str, name: str) -> bool:
        """Whether they may read this job."""
        return await self._may(Access("get", namespace, name=name))

    async def _may(self, access: Access) -> bool:
        try:
            return await self._reviews.may(self._caller, access)
        except (ApiError, Problem) as error:
            raise Unanswered(str(error)) from error
