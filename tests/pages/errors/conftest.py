def pytest_addoption(parser):
    parser.addoption("--write-errors", action="store_true", help="write docs/errors.md")
