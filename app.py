"""The dashboard: streamlit run app.py"""

import streamlit as st

from pages._ui.registry import ICON, pages

# Set before the menu: otherwise the browser fetches each page's menu icon from the network, as the tab's icon.
st.set_page_config(page_icon=ICON, layout="wide")
st.navigation(pages()).run()
