"""Command line options, read by the host before it starts."""


def preload(parser):
    parser.add_argument(
        "--sdfm-off",
        action="store_true",
        help="start without SDFM: no controls, no routes, nothing attached (to find out whether it causes a problem)",
    )
