"""The one exception of the server's inside: a XenAPI error on its way to the client."""


class XapiError(Exception):
    """A XenAPI error.

    Args:
        code: as in the XenAPI reference, `HANDLE_INVALID`.
        parameters: what stands after it in `ErrorDescription`.
    """

    def __init__(self, code: str, *parameters: str) -> None:
        super().__init__(code, *parameters)
        self.description = [code, *parameters]


def backend_failure(number: int, text: str) -> XapiError:
    """An error of a storage driver, laid out as xapi passes it on."""
    return XapiError(f"SR_BACKEND_FAILURE_{number}", "", text, "")
